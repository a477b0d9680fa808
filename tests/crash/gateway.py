"""A gateway whose services run one by one, so that each can be killed and started again at once.

``crossdock up`` waits longer before each further start of a service that dies, which is right, and
too slow for a service that dies on purpose a hundred times.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

import launching
from crossdock.faults import FIRED, Point
from receivers import alive, workers
from servers.rabbitmq import RabbitMQ
from waiting import until


SERVICES = ("config-api", "receiver", "router", "dispatcher")
_WORK_QUEUES = ("parcels", "ledger", "deliveries.")
_GROWN_UP_SECONDS = 3.0
_LOOK_SECONDS = 0.1  # at what costs a service something


class Broker:
    """What carries the messages: a RabbitMQ, or the embedded broker if there is none.

    The embedded broker has no process that could be killed. What can be lost of it are its files,
    so they are, which is worse. ``since`` is when its queues were there, or there again.
    """

    def __init__(self, data: Path, server: RabbitMQ | None) -> None:
        self._files = data / "broker"
        self._server = server
        self.since = time.monotonic()

    @property
    def url(self) -> str:
        return f"filesystem://{self._files}" if self._server is None else self._server.url

    @property
    def forgets(self) -> bool:
        """Whether what was in its queues is gone when it was killed."""
        return self._server is None

    def kill(self) -> None:
        if self._server is None:
            self._wipe()
            return
        # RabbitMQ 3.10 forgets a queue that is younger than its own sync, and never mends it.
        until(lambda: time.monotonic() - self.since > _GROWN_UP_SECONDS, what="no newborn queues")
        self._server.kill()

    def start(self) -> None:
        if self._server is not None:
            self._server.start()
            self.since = time.monotonic()

    def _wipe(self) -> None:
        for letter in [*self._files.glob("queues/*/*/*"), *self._files.glob("taken/*/*/*")]:
            place = letter.relative_to(self._files).parts
            if place[1 if place[0] == "queues" else 2].startswith(_WORK_QUEUES):
                letter.unlink(missing_ok=True)


class Gateway:
    """The four services that a study passes, on one data directory."""

    def __init__(self, directory: Path, server: RabbitMQ | None, document: dict[str, Any]) -> None:
        self.data = directory / "data"
        self.log = directory / "services.log"
        self.broker = Broker(self.data, server)
        self.document = document
        self.api = httpx.Client(timeout=60)
        self._faults = directory / "faults"
        self._faults.mkdir(parents=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def open(self) -> None:
        """Start all services, configure them, and wait until they are ready."""
        for name in SERVICES:
            self.start(name)
        until(lambda: self._answers("/healthz"), what="config-api answers", step=_LOOK_SECONDS)
        self.configure(self.document)
        self.wait_ready()
        self.broker.since = time.monotonic()

    def close(self) -> None:
        self.disarm()
        self.api.close()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close_stdin(process)

    def start(self, name: str) -> None:
        """Start a service, or the broker again."""
        if name == "broker":
            self.broker.start()
            return
        self._processes[name] = launching.start(
            launching.SERVICES,
            name,
            log=self.log,
            environment=self._environment(),
            stdin=subprocess.PIPE,  # it ends with us, however we end
        )

    def _environment(self) -> dict[str, str]:
        return {
            "CROSSDOCK_DATA": str(self.data),
            "CROSSDOCK_BROKER": self.broker.url,
            "CROSSDOCK_HTTP": "127.0.0.1:0",
            "CROSSDOCK_FAULTS": str(self._faults),
            "CROSSDOCK_REQUIRES": ",".join(SERVICES[1:]),
            "CROSSDOCK_RECEIVER_WORKERS": "2",
            "CROSSDOCK_RETENTION_HOURS": "0",
            "CROSSDOCK_RETRY_SCALE": "0.02",
            "CROSSDOCK_SUPERVISED": "1",
        }

    def kill(self, name: str) -> None:
        """Kill a service or the broker as ``kill -9`` does."""
        if name == "broker":
            self.broker.kill()
            return
        self._processes[name].kill()
        self.wait_dead(name)

    def wait_dead(self, name: str) -> None:
        """Wait until a service is dead that killed itself."""
        process = self._processes[name]
        process.wait(60)  # a disk that is busy keeps a killed process for a while
        _close_stdin(process)

    def workers(self) -> list[int]:
        return workers(self._processes["receiver"].pid)

    def restart(self, name: str) -> None:
        self.kill(name)
        self.start(name)

    def arm(self, point: Point, times: int, *, pause: bool) -> None:
        """Have something happen when a process reaches a point for the ``times``-th time."""
        young = self._faults.with_name("arming")
        young.write_text(f"{times} pause" if pause else f"{times}")
        young.rename(self._faults / point)

    def fired(self, point: Point) -> bool:
        return (self._faults / f"{point}{FIRED}").exists()

    def release(self, point: Point) -> None:
        """Let the thread go on that waits at a point."""
        (self._faults / f"{point}{FIRED}").unlink()

    def disarm(self) -> None:
        """Have nothing armed, and nobody waiting."""
        for file in self._faults.iterdir():
            file.unlink()

    def configure(self, document: dict[str, Any]) -> None:
        """Put a configuration in force, however often it takes; doing it twice changes nothing."""
        self.document = document
        until(self._put, what="the configuration is changed", step=_LOOK_SECONDS)

    def _put(self) -> bool:
        try:
            self._aim()
            answer = self.api.put("/api/v1/gateway", json=self.document)
        except httpx.TransportError:
            return False
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        return answer.is_success

    def wait_ready(self) -> None:
        """Wait until every service says that it is ready, by the configuration in force."""
        until(lambda: self._answers("/readyz"), what="ready", step=_LOOK_SECONDS)

    def ledger(self, kind: str, **query: str) -> list[dict[str, Any]]:
        """Return the deliveries or parcels of the ledger; none while config-api is away."""
        try:
            self._aim()
            answer = self.api.get(f"/api/v1/{kind}", params={"limit": 500, **query})
        except httpx.TransportError:
            return []
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def spooled(self) -> str:
        """Return what ``crossdock spool list`` prints."""
        return subprocess.run(
            [sys.executable, "-m", "crossdock.cli.main", "spool", "list"],
            env=os.environ | self._environment() | {"COLUMNS": "200"},
            capture_output=True,
            check=True,
            text=True,
            timeout=30,
        ).stdout

    def _answers(self, path: str) -> bool:
        try:
            self._aim()
            return self.api.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def _aim(self) -> None:
        """Speak to config-api where it is now: started again, it has another port."""
        try:
            said = json.loads((self.data / "run/config-api.json").read_text())
        except (OSError, ValueError):
            said = {"pid": 0}
        if said["pid"] != self._processes["config-api"].pid:
            raise httpx.ConnectError("config-api is not running")
        self.api.base_url = httpx.URL(f"http://{said['http']}")


def wait_worker_dead(before: list[int]) -> None:
    """Wait until one of a receiver's workers is dead."""
    until(lambda: not all(map(alive, before)), what="a worker is dead")


def _close_stdin(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
