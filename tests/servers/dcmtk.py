"""DCMTK's programs: storescp as a peer to send to, and its senders as peers that send to us."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ports import free_port
from servers import require
from waiting import until


# Without it each exchange between DCMTK's own programs waits 40 ms for an acknowledgement.
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}

_ATTEMPTS = 5

_ARCHIVE = """\
NetworkTCPPort  = {port}
MaxPDUSize      = 16384
MaxAssociations = 16
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
QRSCP  {directory}  RW (200, 1024mb)  ANY
AETable END
"""


@dataclass(frozen=True, slots=True)
class StoreScp:
    """A running storescp and where it keeps what it gets."""

    port: int
    directory: Path

    def files(self) -> list[Path]:
        """What it has received so far."""
        return sorted(path for path in self.directory.iterdir() if path.is_file())


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    return process.poll() is not None or listens(port)


@contextmanager
def storescp(directory: Path, *options: str, log: Path = Path(os.devnull)) -> Iterator[StoreScp]:
    """Run storescp on a free port; DCMTK cannot bind port 0, so another is tried if that fails."""
    program = require("storescp")
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        port = free_port()
        command = [program, "-od", str(directory), *options, str(port)]
        with (
            log.open("wb") as said,
            subprocess.Popen(command, env=ENVIRONMENT, stderr=said) as process,
        ):
            until(partial(_answers, process, port), what="storescp")
            if process.poll() is None:
                try:
                    yield StoreScp(port, directory)
                finally:
                    process.terminate()
                return
    pytest.fail(f"storescp {options} does not start")


@contextmanager
def dcmqrscp(directory: Path) -> Iterator[StoreScp]:
    """Run dcmqrscp, DCMTK's archive, as AE title QRSCP on a free port."""
    program = require("dcmqrscp")
    stored = directory / "QRSCP"
    stored.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        port = free_port()
        configuration = directory / "dcmqrscp.cfg"
        configuration.write_text(_ARCHIVE.format(port=port, directory=stored))
        command = [program, "-c", str(configuration)]
        with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
            until(partial(_answers, process, port), what="dcmqrscp")
            if process.poll() is None:
                try:
                    yield StoreScp(port, stored)
                finally:
                    process.terminate()
                return
    pytest.fail("dcmqrscp does not start")


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's programs to its end; output and errors are joined."""
    return subprocess.run(  # noqa: PLW1510 — the exit code is for the test to judge
        [require(program), *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
