"""Several receivers, routers and dispatchers on one spool and one RabbitMQ, as on several machines.

Each process has a data directory of its own, in which only the spool is shared, and may only use
locks that another machine would see.
"""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import launching
from crossdock.bus import connect
from crossdock.bus.topology import LEDGER
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.storage_scu import StorageScu
from crossdock.messages import DeliveryAttempted, DeliveryFinished, Message
from crossdock.model import DeliveryState
from ports import free_port
from servers.rabbitmq import RabbitMQ, rabbitmq
from servers.shared_disk import SharedDisk
from studies import by_uid, make_ct
from waiting import until


class Pod:
    """One process, with a machine of its own as far as it can tell."""

    def __init__(
        self, place: Path, gateway: dict[str, Any], *command: str, **environment: str
    ) -> None:
        self.data, self.log = place, place.with_suffix(".log")
        service = command[0]
        place.mkdir()
        (place / "spool").symlink_to(place.parent / "spool")
        (place / "config").mkdir()
        copy = {"type": "config.published", "revision": 1, "document": gateway}
        (place / "config" / f"{service}.json").write_text(json.dumps(copy))
        own = {"CROSSDOCK_DATA": str(place), "CROSSDOCK_HTTP": "127.0.0.1:0"}
        self.process = launching.start(
            launching.SERVICES, *command, log=self.log, environment=own | environment
        )
        self._said = place / "run" / f"{service}.json"

    def ready(self) -> bool:
        """Whether it says that all is well."""
        try:
            address = json.loads(self._said.read_text())["http"]
            return httpx.get(f"http://{address}/readyz", timeout=60).status_code == 200
        except (OSError, ValueError, httpx.TransportError):
            return False

    def has_open(self, path: Path) -> bool:
        """Whether it has a file open."""
        descriptors = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return path.resolve() in [each.readlink() for each in descriptors]

    def end(self, how: signal.Signals) -> None:
        """End it, and wait for that."""
        self.process.send_signal(how)
        self.process.wait(60)


class Facts:
    """What the ledger would be told."""

    def __init__(self) -> None:
        self.confirmed: Counter[str] = Counter()
        self.delivered: list[str] = []

    def heard(self, message: Message) -> None:
        match message:
            case DeliveryAttempted():
                self.confirmed[message.delivery] += message.delivered
            case DeliveryFinished(state=DeliveryState.DELIVERED):
                self.delivered.append(message.delivery)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path / "rabbitmq") as server:
        yield server


@pytest.fixture
def facts(broker: RabbitMQ) -> Iterator[Facts]:
    facts = Facts()
    with connect(broker.url) as bus:
        bus.consume(LEDGER, facts.heard)
        yield facts


@contextmanager
def pods(
    place: Path, folder: Path, ports: tuple[int, ...], **environment: str
) -> Iterator[dict[str, list[Pod]]]:
    """Run a receiver for each port, and as many routers and dispatchers."""
    (place / "spool").mkdir()

    def gateway(port: int) -> dict[str, Any]:
        node = {"name": "main", "ae_title": "GATE", "port": port, "accept": "any"}
        return {
            "store_nodes": [node | {"quiet_seconds": 600}],
            "targets": [{"name": "research", "type": "folder", "path": str(folder)}],
            "rules": [{"name": "all", "targets": ["research"]}],
        }

    commands = {
        "receiver": ("receiver", "--workers", "1"),
        "router": ("router",),
        "dispatcher": ("dispatcher", "--protocol", "folder"),
    }
    running: dict[str, list[Pod]] = {
        service: [
            Pod(place / f"{service}-{n}", gateway(port), *command, **environment)
            for n, port in enumerate(ports)
        ]
        for service, command in commands.items()
    }
    every = [pod for several in running.values() for pod in several]
    try:
        for pod in every:
            until(pod.ready, what=pod.log.name)
        yield running
    finally:
        for pod in every:
            pod.process.kill()
            pod.process.wait()


def sender(port: int) -> StorageScu:
    return StorageScu("127.0.0.1", port, called_ae_title="GATE", calling_ae_title="CT1")


def store(scu: StorageScu, paths: list[Path]) -> None:
    for path in paths:
        assert scu.store(path, read_file_meta(path)) == 0


def test_what_several_of_each_take_in_arrives_once_also_when_one_of_each_dies(
    tmp_path: Path, broker: RabbitMQ, facts: Facts
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    disk = SharedDisk(tmp_path / "disk")
    environment = {"CROSSDOCK_BROKER": broker.url, **disk.environment}
    ports = free_port(), free_port()
    studies = [make_ct(tmp_path / f"ct{n}", 10) for n in range(8)]
    meta = read_file_meta(studies[0][0])
    contexts = [(meta.sop_class_uid, (meta.transfer_syntax_uid,))]

    def arrived() -> list[Path]:
        return list(folder.rglob("*.dcm"))

    with pods(tmp_path, folder, ports, **environment) as running:
        for n, study in enumerate(studies[:6]):
            with sender(ports[n % 2]) as scu:
                scu.associate(contexts)
                store(scu, study)
                scu.release()
        until(lambda: len(arrived()) == 60)
        until(lambda: len(facts.delivered) == 6)

        lost, goes_on = studies[6], studies[7]
        lock = tmp_path / "spool" / "housekeeping.lock"
        (keeper,) = (router for router in running["router"] if router.has_open(lock))
        with sender(ports[0]) as first, sender(ports[1]) as second:
            for scu, study in ((first, lost), (second, goes_on)):
                scu.associate(contexts)
                store(scu, study[:9])
            running["receiver"][0].end(signal.SIGKILL)
            keeper.end(signal.SIGKILL)
            running["dispatcher"][0].end(signal.SIGTERM)
            until(
                lambda: len(arrived()) == 69,
                what="the other router closes what a dead receiver left",
            )
            store(second, goes_on[9:])
            second.release()
        until(lambda: len(arrived()) == 79)
        until(lambda: len(facts.delivered) == 8)

    sent = [path for study in [*studies[:6], lost[:9], goes_on] for path in study]
    assert by_uid(arrived()) == by_uid(sent)
    assert len(set(facts.delivered)) == 8, "no delivery ended twice"
    assert facts.confirmed.total() == 79, "no instance was sent twice"
    used, refused = disk.locks()
    assert used
    assert refused == 2, "but for a first try of each router, all are locks that others would see"
