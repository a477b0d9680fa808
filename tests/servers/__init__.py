"""Real servers for tests: found on the machine, started on private ports, stopped again."""

import os
import shutil
from pathlib import Path

import pytest


def require(program: str, *places: str) -> str:
    """Return the full path of a server's program.

    DCMTK's programs are looked for in /usr/bin first, because pynetdicom installs scripts of the
    same names into virtual environments. Missing is a skip at a desk and a failure in CI.
    """
    for place in (*places, "/usr/bin", "/usr/sbin"):
        if (Path(place) / program).is_file():
            return str(Path(place) / program)
    found = shutil.which(program)
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed, and CI must have it: run `make servers`")
    pytest.skip(f"{program} is not installed: run `make servers`")
