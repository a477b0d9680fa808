"""Processes of the gateway, which see no settings but those that a test gives."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


SERVICES, PROGRAM = "crossdock.cli.services", "crossdock.cli.main"


def settings(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with only the chosen settings of a gateway."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("CROSSDOCK_")}
    return inherited | dict(chosen)


def start(
    module: str,
    *arguments: str,
    log: Path,
    environment: Mapping[str, str],
    before: Sequence[str] = (),
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Run a module, which writes into a log; ``before`` is what runs it, such as ``setpriv``."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [*before, sys.executable, "-m", module, *arguments],
            env=settings(environment),
            stdin=stdin,
            stdout=output,
            stderr=output,
        )
