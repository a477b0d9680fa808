"""PostgreSQL in a private directory, spoken to through a Unix socket: no port to collide on."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from servers import require


_USER = "crossdock"


class Postgres:
    """A running server; every ``database()`` is a new, empty one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def database(self) -> str:
        """Return the URL of a new database."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://{_USER}@/{name}?host={self._directory}"

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self._directory} -c fsync=off"
        log = self._directory / "log"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def create(self) -> None:
        self._run(
            "initdb", "-D", self._data, "-U", _USER, "--auth=trust", "-E", "UTF8", "--no-sync"
        )

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [require(program, *_programs()), *map(str, arguments)]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            identity = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
            command = [require("setpriv"), *identity, *command]
        subprocess.run(
            command,
            check=True,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )


def _programs() -> list[str]:
    return sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server for as long as the block lasts."""
    require("initdb", *_programs())
    directory = Path(tempfile.mkdtemp(prefix="crossdock-pg-"))
    server = Postgres(directory)
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
