"""Whatever is killed in the middle: what got a success arrives exactly once."""

import threading
import time
from pathlib import Path

import pytest

from crossdock.cli.demo import demo_gateway
from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.dicom.storage_scu import StorageScu
from crossdock.errors import CrossdockError
from ports import free_port
from running import Running, running
from servers.rabbitmq import RabbitMQ
from studies import by_uid, make_ct
from waiting import until


COUNT, SERIES = 500, 10


class Modality(threading.Thread):
    """Sends every file until it gets a success for it, as a modality with a queue does."""

    def __init__(self, port: int, paths: list[Path]) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._left = [(path, read_file_meta(path)) for path in paths]
        self._stopping = threading.Event()
        self.confirmed = 0

    def run(self) -> None:
        while self._left and not self._stopping.is_set():
            try:
                self._send()
            except CrossdockError:
                self._stopping.wait(0.1)

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _send(self) -> None:
        scu = StorageScu("127.0.0.1", self._port, called_ae_title="CROSSDOCK", calling_ae_title="M")
        with scu:
            meta: FileMeta = self._left[0][1]
            scu.associate([(meta.sop_class_uid, (meta.transfer_syntax_uid,))])
            while self._left and not self._stopping.is_set():
                if scu.store(*self._left[0]) != 0:
                    return
                self._left.pop(0)
                self.confirmed += 1
            scu.release()


def _study(directory: Path) -> list[Path]:
    return [
        path
        for number in range(SERIES)
        for path in make_ct(directory / str(number), COUNT // SERIES, size=20_000)
    ]


def _gateway(folder: Path, port: int) -> dict[str, object]:
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0] |= {"port": port, "parcel_instances": 20}
    return gateway


def _send_half(modality: Modality, folder: Path) -> None:
    """Start to send and wait until some has arrived and some has not."""
    modality.start()
    until(lambda: modality.confirmed > COUNT // 4 and _arrived(folder) > 0, what="the middle")


def _arrived(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.dcm"))


def _assert_all_there(
    crossdock: Running, modality: Modality, folder: Path, sent: list[Path]
) -> None:
    until(lambda: not modality.is_alive(), what="all is sent")
    assert modality.confirmed == COUNT
    until(lambda: _arrived(folder) >= COUNT, what="all has arrived")
    until(
        lambda: (
            sum(row["delivered"] for row in crossdock.deliveries()) >= COUNT
            and all(row["state"] == "delivered" for row in crossdock.deliveries())
        ),
        what="the ledger says so",
    )
    unique = {(row["parcel"], row["target"]) for row in crossdock.deliveries()}
    assert len(unique) == len(crossdock.deliveries())
    arrived = by_uid([path for path in folder.rglob("*.dcm") if not path.name.startswith(".")])
    assert arrived == by_uid(sent)
    assert not [path for path in folder.rglob("*") if path.suffix == ".part"]


@pytest.mark.parametrize("service", ["receiver", "router", "dispatcher", "config-api"])
def test_a_service_killed_in_the_middle_loses_and_doubles_nothing(
    tmp_path: Path, folder: Path, broker: str | None, service: str
) -> None:
    sent = _study(tmp_path / "study")
    with running(tmp_path / "data", _gateway(folder, port := free_port()), broker) as crossdock:
        modality = Modality(port, sent)
        _send_half(modality, folder)
        crossdock.kill(service)
        _assert_all_there(crossdock, modality, folder, sent)


def test_a_broker_killed_in_the_middle_loses_and_doubles_nothing(
    tmp_path: Path, folder: Path, own_rabbitmq: RabbitMQ
) -> None:
    sent = _study(tmp_path / "study")
    gateway = _gateway(folder, port := free_port())
    with running(tmp_path / "data", gateway, own_rabbitmq.url) as crossdock:
        modality = Modality(port, sent)
        # RabbitMQ 3.10 forgets a queue that is younger than its own sync, and never mends it.
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 2, what="the queues are no newborns")
        _send_half(modality, folder)
        own_rabbitmq.kill()
        reached = modality.confirmed
        until(lambda: modality.confirmed > min(reached + 50, COUNT - 1), what="receiving goes on")
        own_rabbitmq.start()
        _assert_all_there(crossdock, modality, folder, sent)


def test_an_embedded_broker_wiped_in_the_middle_is_refilled_from_the_spool(
    tmp_path: Path, folder: Path
) -> None:
    sent = _study(tmp_path / "study")
    with running(tmp_path / "data", _gateway(folder, port := free_port())):
        modality = Modality(port, sent)
        _send_half(modality, folder)
        for file in (tmp_path / "data/broker").rglob("*"):
            if file.is_file() and ("parcels" in str(file) or "deliveries" in str(file)):
                file.unlink(missing_ok=True)
        until(lambda: not modality.is_alive(), what="all is sent")
        until(lambda: _arrived(folder) >= COUNT, what="all has arrived")
    assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(sent)


def test_everything_killed_at_once_and_started_again_loses_and_doubles_nothing(
    tmp_path: Path, folder: Path
) -> None:
    sent = _study(tmp_path / "study")
    gateway = _gateway(folder, port := free_port())
    modality = Modality(port, sent)
    with running(tmp_path / "data", gateway) as crossdock:
        _send_half(modality, folder)
        for service in ("receiver", "router", "dispatcher", "config-api", "tester"):
            crossdock.kill(service)
        crossdock.process.kill()
        crossdock.process.wait()
    with running(tmp_path / "data") as crossdock:
        _assert_all_there(crossdock, modality, folder, sent)
