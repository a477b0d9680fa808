"""A dispatcher as a process of its own: killed, stopped, reconfigured."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt

from crossdock.bus import Bus, connect
from crossdock.bus.topology import CONFIG, CONFIG_CHANGED, LEDGER, deliveries
from crossdock.messages import ConfigChanged, ConfigPublished, DeliveryFinished, Message
from crossdock.model import DeliveryState
from crossdock.spool import StoredParcel
from nodes import listening
from parcels import make_spool, route, store_parcel
from servers.archive import Archive, archiving
from servers.dcmtk import storescp
from studies import PATIENT, by_uid, make_ct
from waiting import until


PROGRAM = (
    "import sys; from crossdock.settings import from_environment;"
    "from dispatcher.__main__ import main;"
    "sys.exit(main(from_environment(), sys.argv[1:]))"
)


class Counted:
    """A storage SCP that counts; it answers nothing while ``gate`` is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.counts: Counter[str] = Counter()
        ae = AE(ae_title="PEER")
        ae.add_supported_context(CTImageStorage)
        server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        assert server is not None
        self._server = server
        self.port = int(server.server_address[1])

    def _store(self, event: Any) -> int:
        self.counts[str(event.request.AffectedSOPInstanceUID)] += 1
        self.gate.wait(60)
        return 0x0000

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def peer() -> Iterator[Counted]:
    peer = Counted()
    yield peer
    peer.close()


class Gateway:
    """A data directory, its broker, and a config-api that hands out what it is told."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.log = directory / "log"
        self.spool = make_spool(self.data / "spool")
        self.bus: Bus = connect(f"filesystem://{self.data / 'broker'}")
        self.published = ConfigPublished(revision=0, document={})
        self.bus.serve(CONFIG, self._answer)
        self.ledger: list[Message] = []
        self.bus.consume(LEDGER, self.ledger.append)

    def _answer(self, _: Message) -> Message:
        return self.published

    def configure(self, *targets: dict[str, object]) -> None:
        revision = self.published.revision + 1
        self.published = ConfigPublished(revision=revision, document={"targets": list(targets)})
        self.bus.broadcast(CONFIG_CHANGED, ConfigChanged(revision=revision))

    def deliver(
        self, paths: list[Path], *targets: str, protocol: str, revision: int = 1
    ) -> StoredParcel:
        stored = store_parcel(self.spool, paths)
        for message in route(stored, *targets, protocol=protocol, revision=revision):
            self.bus.send(deliveries(message.target), message)
        return stored

    def ends(self, count: int) -> list[DeliveryFinished]:
        def heard() -> list[DeliveryFinished]:
            found = [each for each in list(self.ledger) if isinstance(each, DeliveryFinished)]
            return found if len(found) >= count else []

        return until(heard, what=f"{count} ends")

    @contextmanager
    def dispatcher(self, *protocols: str) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            "CROSSDOCK_DATA": str(self.data),
            "CROSSDOCK_BROKER": f"filesystem://{self.data / 'broker'}",
            "CROSSDOCK_HTTP": "127.0.0.1:0",
            "CROSSDOCK_RETRY_SCALE": "0.02",
        }
        with (
            self.log.open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *protocols], env=environment, stderr=log
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def address(self) -> str:
        return str(json.loads((self.data / "run" / "dispatcher.json").read_text())["http"])


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.bus.close()


def dicom(port: int, name: str = "archive") -> dict[str, object]:
    return {
        "name": name,
        "type": "dicom",
        "host": "127.0.0.1",
        "port": port,
        "called_ae_title": "PEER",
    }


def test_what_a_killed_dispatcher_had_begun_another_one_ends(
    gateway: Gateway, peer: Counted, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 200)
    gateway.configure(dicom(peer.port))
    gateway.deliver(paths, "archive", protocol="dicom")
    with gateway.dispatcher("dicom") as first:
        until(lambda: len(peer.counts) >= 60, what="60 instances")
        first.kill()
        first.wait()
    assert len(peer.counts) < 200
    with gateway.dispatcher("dicom"):
        (end,) = gateway.ends(1)
    assert (end.state, end.delivered) == (DeliveryState.DELIVERED, 200)
    assert set(peer.counts) == set(by_uid(paths))
    assert sum(peer.counts.values()) <= 201


def test_a_commitment_that_is_reported_while_the_dispatcher_is_dead_is_not_lost(
    gateway: Gateway, tmp_path: Path
) -> None:
    commitment = {"same_association_seconds": 0, "wait_seconds": 600}
    settings = {"commitment": commitment, "delivered_means": "committed"}
    with archiving(Archive()) as archive:
        archive.over = "none"
        gateway.configure(dicom(archive.port) | settings)
        stored = gateway.deliver(make_ct(tmp_path / "ct", 3), "archive", protocol="dicom")
        with gateway.dispatcher("dicom") as first:
            until(lambda: stored.record("archive").next_try, what="it waits")
            first.kill()
            first.wait()
        with listening(gateway.spool) as port:
            assert archive.tell(port, "CROSSDOCK", *archive.asked[0]) == 0x0000
        with gateway.dispatcher("dicom"):
            (end,) = gateway.ends(1)
    assert (end.state, end.remark) == (DeliveryState.DELIVERED, "committed by PEER")
    assert (len(archive.stored), len(archive.asked)) == (3, 1)


def test_a_dispatcher_that_is_asked_to_stop_does_so_in_time_and_another_goes_on(
    gateway: Gateway, peer: Counted, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 100)
    gateway.configure(dicom(peer.port))
    stored = gateway.deliver(paths, "archive", protocol="dicom")
    with gateway.dispatcher("dicom") as first:
        until(lambda: len(peer.counts) >= 10, what="10 instances")
        first.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert first.wait(timeout=60) == 0
        assert time.monotonic() - started < 10
    sent = len(peer.counts)
    assert sent < 100
    record = stored.record("archive")
    assert (record.setbacks, record.attempts, len(record.outcomes)) == (0, 0, sent)
    with gateway.dispatcher("dicom"):
        assert gateway.ends(1)[0].delivered == 100
    assert set(peer.counts.values()) == {1}


def test_even_while_a_peer_hangs_a_dispatcher_stops_in_time(
    gateway: Gateway, peer: Counted, tmp_path: Path
) -> None:
    peer.gate.clear()
    gateway.configure(dicom(peer.port))
    stored = gateway.deliver(make_ct(tmp_path / "ct", 3), "archive", protocol="dicom")
    with gateway.dispatcher("dicom") as process:
        until(lambda: len(peer.counts), what="an instance")
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - started < 10
    assert (stored.record("archive").setbacks, stored.record("archive").outcomes) == (0, {})


def test_a_study_reaches_a_pacs_and_a_folder_and_leaves_no_patient_in_log_or_metrics(
    gateway: Gateway, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 200, size=20_000)
    folder = tmp_path / "folder"
    folder.mkdir()
    naming = "{PatientName}/{PatientID}/{SOPInstanceUID}.dcm"
    research: dict[str, object] = {
        "name": "research",
        "type": "folder",
        "path": str(folder),
        "naming": naming,
    }
    with storescp(tmp_path / "scp", "+B", "+xa") as scp:
        gateway.configure(dicom(scp.port), research)
        gateway.deliver(paths, "archive", protocol="dicom")
        gateway.deliver(paths, "research", protocol="folder")
        with gateway.dispatcher("dicom", "folder"):
            assert [end.delivered for end in gateway.ends(2)] == [200, 200]
            metrics = httpx.get(f"http://{gateway.address()}/metrics", timeout=60).text
            ready = httpx.get(f"http://{gateway.address()}/readyz", timeout=60).status_code
        assert by_uid(scp.files()) == by_uid(paths)
    assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(paths)
    assert len(list(folder.rglob(".complete"))) == 1
    assert ready == 200
    delivered = 'crossdock_instances_delivered_total{outcome="delivered"'
    assert f'{delivered},protocol="dicom",target="archive"}} 200.0' in metrics
    assert f'{delivered},protocol="folder",target="research"}} 200.0' in metrics
    for secret in (PATIENT.partition("^")[0], "SECRET-ID"):
        assert secret not in metrics
        assert secret not in gateway.log.read_text()


def test_a_change_of_configuration_is_in_force_before_it_is_asked_for(
    gateway: Gateway, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with gateway.dispatcher("folder"):
        gateway.configure()
        until((gateway.data / "config" / "dispatcher.json").exists, what="configured")
        gateway.deliver(make_ct(tmp_path / "ct", 1), "new", protocol="folder", revision=2)
        started = time.monotonic()
        gateway.configure({"name": "new", "type": "folder", "path": str(folder)})
        (end,) = gateway.ends(1)
        assert time.monotonic() - started < 4  # 0.1 on an idle machine; it asks every 5
    assert end.state is DeliveryState.DELIVERED


def test_deliveries_to_a_target_that_was_deleted_are_held_by_whoever_had_its_protocol(
    gateway: Gateway, tmp_path: Path
) -> None:
    ours = gateway.deliver(make_ct(tmp_path / "ours", 1), "deleted", protocol="folder")
    theirs = gateway.deliver(make_ct(tmp_path / "theirs", 1), "deleted", protocol="dicom")
    gateway.configure(dicom(104, name="other"))
    with gateway.dispatcher("folder"):
        (end,) = gateway.ends(1)
        until(lambda: ours.targets("held"), what="it is held, which is told first")
    assert (end.delivery, end.state) == (f"{ours.id}-deleted", DeliveryState.HELD)
    assert "no longer configured" in end.reason
    assert ours.targets("held") == theirs.targets("pending") == ["deleted"]
