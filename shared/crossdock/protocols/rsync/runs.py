"""Runs of rsync over an open connection."""

import hashlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from crossdock.config.targets import RsyncTarget
from crossdock.protocols.placing import COMPLETE
from crossdock.protocols.rsync.failures import Ended
from crossdock.protocols.ssh.openssh import OpenSsh
from crossdock.protocols.ssh.programs import plain_environment, program_named


PARTIAL = ".crossdock-partial"
"""How the directories begin, beside the files, where these are until all of a run are there."""

_KEPT = 256 * 1024  # bytes of what a run says


class Run:
    """One rsync under way. What it says goes into files, so that it never has to wait for us."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 — closed by ``close``
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 — as above
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            env=plain_environment(),
            start_new_session=True,
        )

    def wait(self) -> Ended:
        """Wait until it has ended; it has time limits of its own."""
        return Ended(self._process.wait(), _text(self._errors))

    def output(self) -> list[str]:
        """Return the lines that it printed; for a run that has ended."""
        self._output.seek(0)
        return self._output.read().decode("utf-8", "surrogateescape").splitlines()

    def close(self) -> None:
        """End it if it still runs. Closing twice is fine."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
        self._output.close()
        self._errors.close()


class Rsync:
    """How rsync is called for a target; ``syncs`` until one side turned out to be too old."""

    def __init__(self, target: RsyncTarget, connection: OpenSsh) -> None:
        self._target = target
        self.connection = connection
        self._program = program_named("rsync")
        self.syncs = True

    def send(self, directory: Path, roots: Sequence[str], delivery: str = "") -> Run:
        """Start sending what lies in a directory, to get its names all together.

        What is cut goes on at the next try of the same ``delivery``, any word of its own. Of what is there only ``.complete`` is removed, and only in directories that get files.
        """
        options = [
            f"--partial-dir={PARTIAL}-{hashlib.sha256(delivery.encode()).hexdigest()[:12]}",
            "--delay-updates",
            "--ignore-times",  # the same size and time are no proof of the same content
            "--delete",
            f"--filter=R {COMPLETE}",
            "--filter=P *",
        ]
        if self.syncs:
            options.append("--fsync")
        rate = self._target.bytes_per_second
        if rate is not None:  # each run keeps to its share, as it does not know of the others
            options.append(f"--bwlimit={max(1, int(rate / self._target.concurrency / 1024))}")
        return self._run(directory, [*options, "--", *roots, self._remote()])

    def missing(self, directory: Path, roots: Sequence[str]) -> Run:
        """Start to list what lies in a directory and is not the same there; changes nothing."""
        options = ["--dry-run", "--checksum", "--out-format=%n"]
        return self._run(directory, [*options, "--", *roots, self._remote()])

    def fetch(self, name: str, directory: Path) -> Run:
        """Start to fetch one file of the target's directory."""
        return self._run(directory, ["--", f"{self._remote()}{name}", "./"])

    def forget(self, name: str, empty: Path) -> Run:
        """Start to remove a directory that is not in ``empty`` from the target's directory."""
        return self._run(empty, ["--delete-missing-args", "--force", "--", name, self._remote()])

    def _run(self, directory: Path, arguments: Sequence[str]) -> Run:
        command = [
            self._program,
            "--recursive",
            "--secluded-args",  # paths go past the shell there
            "--8-bit-output",
            f"--timeout={max(1, round(self._target.timeout))}",
            "--rsh",
            shlex.join(self.connection.sharing()[:-1]),
        ]
        return Run([*command, *arguments], directory)

    def _remote(self) -> str:
        """Return the target's directory; it is not made, because of the dot at its end."""
        return f"target:{self._target.base.rstrip('/')}/./"


def waited(run: Run) -> Ended:
    """Return how a run ended, once it has."""
    try:
        return run.wait()
    finally:
        run.close()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_KEPT).decode("utf-8", "surrogateescape")
