"""A real Redis of our own: private port, private directory, every write synced."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import free_port
from servers import require
from waiting import until


class Redis:
    """A server that can be stopped, killed and started again with the same data and port."""

    def __init__(self, directory: Path) -> None:
        self._program = require("redis-server")
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, wait: bool = True) -> None:
        options = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--dir": str(self._directory),
            "--appendonly": "yes",
            "--appendfsync": "always",
            "--save": "",
        }
        with (self._directory / "server.out").open("ab") as output:
            self._server = subprocess.Popen(
                [self._program, *(word for pair in options.items() for word in pair)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if wait:
            until(lambda: _answers(self.port), what="Redis answers")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(60)
            self._server = None

    stop = kill


@contextmanager
def redis(directory: Path) -> Iterator[Redis]:
    """Run a Redis whose data are in ``directory``; ready when the block begins."""
    server = Redis(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
