"""Real servers for tests: found on the machine, started on private ports, stopped again."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def require(program: str, *places: str) -> str:
    """Return the full path of a server's program.

    DCMTK's programs are looked for in /usr/bin first, because pynetdicom installs scripts of the
    same names into virtual environments. Missing is a skip at a desk and a failure in CI.
    """
    for place in (*places, "/usr/bin", "/usr/sbin"):
        if (Path(place) / program).is_file():
            return str(Path(place) / program)
    return shutil.which(program) or absent(f"{program} is not installed: run `make servers`")


def absent(why: str) -> NoReturn:
    """Skip a test at a desk, and fail it in CI, because something that it needs is not there."""
    if os.environ.get("CI"):
        pytest.fail(f"{why}; CI must have it")
    pytest.skip(why)
