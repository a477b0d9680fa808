"""Runs the services as child processes: starts them, restarts the dead, ends them all."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog


log = structlog.get_logger(__name__)

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_STABLE_SECONDS = 30.0  # one that lived this long starts again at once
_STOP_SECONDS = 8.0  # then SIGKILL, so that all is over within 10 s


@dataclass(slots=True)
class Child:
    """One service as a process of its own."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: float = _FIRST_DELAY
    start_at: float = 0.0
    restarts: int = field(default=0)

    def start(self, now: float) -> None:
        """Start the process. The pipe on its standard input tells it when we are gone."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crossdock.cli.services", *self.command],
            env={**os.environ, **self.environment, "CROSSDOCK_SUPERVISED": "1"},
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on, in order
        )
        self.started_at = now
        log.info("service.starting", name=self.name, pid=self.process.pid)

    def note_end(self, now: float) -> None:
        """Take note that the process ended, and plan its next start."""
        assert self.process is not None  # noqa: S101 — it has ended, so it had begun
        code = self.process.returncode
        _close(self.process)
        self.process = None
        self.delay = _FIRST_DELAY if now - self.started_at > _STABLE_SECONDS else self.delay
        self.start_at = now + self.delay
        log.error("service.died", name=self.name, exit_code=code, restart_in_seconds=self.delay)
        self.delay = min(self.delay * 2, _LONGEST_DELAY)
        self.restarts += 1


class Supervisor:
    """Keeps a set of services running until it is told to stop."""

    def __init__(self, children: Sequence[Child], run: Path) -> None:
        self._children = children
        self._run = run

    def run(self, stopping: threading.Event) -> None:
        """Keep the services running until ``stopping`` is set, then end them all."""
        try:
            while not stopping.wait(0.1):
                self._look_after(time.monotonic())
        finally:
            self._stop()

    def start(self) -> None:
        """Start all services for the first time."""
        for child in self._children:
            (self._run / f"{child.name}.json").unlink(missing_ok=True)
        self._look_after(time.monotonic())

    def problem(self) -> str | None:
        """Return which services are not running, None if all are."""
        dead = [child.name for child in self._children if child.process is None]
        return f"not running: {', '.join(dead)}; the log says why" if dead else None

    def http_address(self, name: str) -> str | None:
        """Return where a running service serves HTTP, None while it does not."""
        process = next((child.process for child in self._children if child.name == name), None)
        try:
            said = json.loads((self._run / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None
        return said["http"] if process is not None and said["pid"] == process.pid else None

    def _look_after(self, now: float) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                child.note_end(now)
            if child.process is None and now >= child.start_at:
                child.start(now)

    def _stop(self) -> None:
        """End all services: first ask, and when the time is over, insist."""
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("service.killed", pid=process.pid)
                process.kill()
                process.wait()
            _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
