"""``crossdock receiver`` in a process of its own, with one store node and its workers."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import launching
from crossdock.dicom.storage_scu import StorageScu
from ports import free_port
from servers.dcmtk import listens
from waiting import until


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []


def workers(receiver: int) -> list[int]:
    """Return a receiver's worker processes, oldest first: its nursery's children."""
    return sorted(worker for nursery in children(receiver) for worker in children(nursery))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass
class Receiver:
    """A running receiver, without router and config-api."""

    data: Path
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def workers(self) -> list[int]:
        """Return its worker processes."""
        return workers(self.process.pid)

    def kill(self, pid: int) -> None:
        """Kill a process with SIGKILL."""
        os.kill(pid, signal.SIGKILL)

    def get(self, path: str) -> httpx.Response:
        """Ask it over HTTP."""
        said = json.loads((self.data / "run/receiver.json").read_text())
        return httpx.get(f"http://{said['http']}{path}", timeout=60)

    def ready(self) -> bool:
        """Whether it says that all is well."""
        try:
            return self.get("/readyz").status_code == 200
        except (OSError, httpx.TransportError):
            return False

    def metrics(self, name: str) -> dict[str, float]:
        """Return the samples of a metric: labels as shown → value."""
        lines = [
            line for line in self.get("/metrics").text.splitlines() if line.startswith(f"{name}{{")
        ]
        pairs = [line.removeprefix(name).rsplit(" ", 1) for line in lines]
        assert len(dict(pairs)) == len(pairs), pairs
        return {labels: float(value) for labels, value in pairs}

    def scu(self, calling: str = "CT1", called: str = "GATE") -> StorageScu:
        """Return a sender that has not associated yet."""
        return StorageScu("127.0.0.1", self.port, called_ae_title=called, calling_ae_title=calling)

    def configure(self, revision: int, **node: Any) -> None:
        """Write down the configuration as the copy that it starts from."""
        described = {"name": "main", "ae_title": "GATE", "port": self.port, "accept": "any"}
        if "sources" in node:
            del described["accept"]
        document = {"store_nodes": [described | node]}
        published = {"type": "config.published", "revision": revision, "document": document}
        copy = self.data / "config" / "receiver.json"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(json.dumps(published))


@contextmanager
def receiving(data: Path, count: int, **node: Any) -> Iterator[Receiver]:
    """Run a receiver with ``count`` workers until the block ends; it is ready when that begins."""
    log = data.parent / f"{data.name}.log"
    chosen = {"CROSSDOCK_DATA": str(data), "CROSSDOCK_HTTP": "127.0.0.1:0"}
    command = ("receiver", "--workers", str(count))
    port = free_port()
    receiver = Receiver(data, port, None, log)  # type: ignore[arg-type] — it is about to start
    receiver.configure(1, **node)
    receiver.process = launching.start(launching.SERVICES, *command, log=log, environment=chosen)
    try:
        until(lambda: receiver.ready() or receiver.process.poll() is not None, what="ready")
        assert listens(port), log.read_text()[-3000:]
        yield receiver
    finally:
        receiver.process.terminate()
        receiver.process.wait(timeout=60)
