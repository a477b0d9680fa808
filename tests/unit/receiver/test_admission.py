"""Who may send to a store node now, heard by a sender, with a real spool behind it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from crossdock.config import parse_gateway
from crossdock.dicom.errors import AssociationRejected
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.storage_scu import StorageScu
from crossdock.dicom.tls import TlsFiles, client_context
from crossdock.model import Parcel
from crossdock.settings import Reserve, from_environment
from crossdock.spool import Spool
from crossdock.spool.room import Room
from ports import free_port
from receiver.admission import CountedAdmission
from receiver.parcels import Parcels
from receiver.serving import LocalServing
from receiver.store_nodes import StoreNodes
from servers.certificates import Authority
from servers.samples import sample
from waiting import until


CT = sample("CT_small.dcm")
META = read_file_meta(CT)
CONTEXTS = [(META.sop_class_uid, [META.transfer_syntax_uid])]
CONGESTED, LIMIT, CALLING = (2, 3, 1), (2, 3, 2), (1, 1, 3)


@dataclass
class Node:
    """A receiver with one store node, on a disk whose size a test decides."""

    directory: Path
    settings: dict[str, Any]
    free: int = 1000
    port: int = field(default_factory=free_port)
    closed: list[Parcel] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spool = Spool(self.directory / "spool")
        self.spool.prepare()
        self.room = Room(self.spool.root, Reserve(100, 1.0), lambda _: (1000, self.free))
        self.parcels = Parcels(self.spool, self.closed.append)
        admission = CountedAdmission(self.room)
        serving = LocalServing(self.spool, self.parcels, self.room, admission)
        self.nodes = StoreNodes(serving, self.room)

    def configure(self, **changes: object) -> None:
        self.settings |= changes
        document = {"name": "main", "ae_title": "GATE", "port": self.port, "host": "127.0.0.1"}
        self.nodes.configure(parse_gateway({"store_nodes": [document | self.settings]}), 1)

    def scu(self, calling: str = "CT1", **options: Any) -> StorageScu:
        return StorageScu(
            "127.0.0.1", self.port, called_ae_title="GATE", calling_ae_title=calling, **options
        )

    def answer(self, calling: str = "CT1", **options: Any) -> tuple[int, int, int] | None:
        """Return how an association is rejected, None if it is accepted."""
        with self.scu(calling, **options) as scu:
            try:
                scu.associate(CONTEXTS)
            except AssociationRejected as error:
                return error.result, error.source, error.reason
        return None


@contextmanager
def receiving(directory: Path, **settings: Any) -> Iterator[Node]:
    node = Node(directory, settings or {"accept": "any"})
    node.parcels.start()
    node.configure()
    node.nodes.start()
    try:
        yield node
    finally:
        node.nodes.stop(5.0)
        node.parcels.stop()


def metric(name: str) -> float | None:
    return REGISTRY.get_sample_value(name)


def test_more_associations_than_a_node_takes_are_refused_for_the_moment(tmp_path: Path) -> None:
    with receiving(tmp_path, accept="any", max_associations=2) as node:
        with node.scu() as first, node.scu("CT2") as second:
            first.associate(CONTEXTS)
            second.associate(CONTEXTS)
            assert node.answer() == LIMIT
            node.configure(max_associations=3)
            assert node.answer() is None
            node.configure(max_associations=2)
            assert first.store(CT, META) == 0
        until(lambda: node.answer() is None)


def test_a_source_has_a_limit_of_its_own(tmp_path: Path) -> None:
    sources = [{"ae_title": "CT1", "max_associations": 1}, {"address": "127.0.0.0/8"}]
    with receiving(tmp_path, sources=sources) as node:
        with node.scu() as first:
            first.associate(CONTEXTS)
            assert node.answer() == LIMIT
            assert node.answer("CT2") is None
        until(lambda: node.answer() is None)


def test_nobody_is_refused_for_the_moment_who_is_refused_for_good(tmp_path: Path) -> None:
    with receiving(tmp_path, sources=[{"ae_title": "CT1"}], max_associations=1) as node:
        node.free = 0
        until(node.room.problem)
        assert node.answer("STRANGER") == CALLING


def test_a_full_spool_takes_nothing_and_recovers_by_itself(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, node.scu() as running:
        running.associate(CONTEXTS)
        assert running.store(CT, META) == 0
        node.free = 99
        until(lambda: node.answer() == CONGESTED)
        assert running.store(CT, META) == 0xA700
        assert metric("crossdock_spool_free_bytes") == 99
        assert metric("crossdock_spool_short") == 1
        assert "99 bytes left" in str(node.room.problem())
        node.free = 105
        assert node.answer() == CONGESTED, "a little more than the reserve is not enough"
        node.free = 110
        until(lambda: node.room.problem() is None)
        assert node.answer() is None
        assert running.store(CT, META) == 0
        assert metric("crossdock_spool_short") == 0
    assert [parcel.instances[0].sop_instance_uid for parcel in node.closed]
    assert sum(len(parcel.instances) for parcel in node.closed) == 2
    assert list(node.spool.incoming.iterdir()) == []


def test_a_full_spool_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    free, measured = 0, []

    def measure(path: Path) -> tuple[int, int]:
        measured.append(path)
        return 1000, free

    room = Room(tmp_path, Reserve(100, 1.0), measure)
    until(lambda: room.problem() and len(measured) >= 3)
    free = 1000
    until(lambda: room.problem() is None)
    said = capsys.readouterr().out
    assert (said.count("spool.short"), said.count("spool.relieved")) == (1, 1)


def test_a_spool_that_is_gone_is_a_full_one(tmp_path: Path) -> None:
    assert "No such file" in str(Room(tmp_path / "gone", Reserve()).problem())
    assert Room(tmp_path, Reserve(0, 0.0)).problem() is None


@pytest.mark.parametrize(
    ("text", "total", "reserve"),
    [
        ("", 10_000_000_000, 500_000_000),
        ("", 10**13, 1_000_000_000),
        ("2000000", 10**13, 2_000_000),
        ("10%", 10**13, 10**12),
        ("0", 10**13, 0),
    ],
)
def test_the_reserve_is_bytes_or_a_share(text: str, total: int, reserve: int) -> None:
    settings = from_environment({"CROSSDOCK_SPOOL_RESERVE": text})
    assert settings.spool_reserve.of(total) == reserve


@pytest.mark.parametrize("text", ["much", "-1", "100%", "5 G", "x%"])
def test_a_reserve_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="CROSSDOCK_SPOOL_RESERVE"):
        from_environment({"CROSSDOCK_SPOOL_RESERVE": text})


def test_an_ae_title_can_be_bound_to_a_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    own = authority.issue("node", alternative="IP:127.0.0.1")
    ct1, other = authority.issue("CT1.hospital"), authority.issue("other")
    tls = {
        "certificate": str(own.certificate),
        "key": str(own.key),
        "ca": str(authority.certificate),
    }
    sources = [{"ae_title": "CT1", "certificate": "ct1.hospital"}, {"ae_title": "MR1"}]

    def showing(issued: Any) -> Any:
        return client_context(
            TlsFiles(str(issued.certificate), str(issued.key), ca=str(authority.certificate))
        )

    with receiving(tmp_path, sources=sources, tls=tls) as node:
        assert node.answer("CT1", tls=showing(ct1)) is None
        assert node.answer("CT1", tls=showing(other)) == CALLING
        assert node.answer("MR1", tls=showing(other)) is None
        assert node.answer("XA1", tls=showing(ct1)) == CALLING


def test_a_node_whose_certificate_is_missing_says_so_and_listens_once_it_is_there(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path / "ca")
    tls = {"certificate": str(tmp_path / "node.pem"), "client_certificate": "none"}
    with receiving(tmp_path, accept="any", tls=tls) as node:
        assert "node.pem: No such file" in str(node.nodes.problems())
        own = authority.issue("node", alternative="IP:127.0.0.1")
        both = own.key.read_bytes() + own.certificate.read_bytes()
        (tmp_path / "new.pem").write_bytes(both)
        (tmp_path / "new.pem").rename(tmp_path / "node.pem")
        until(lambda: node.nodes.problems() is None)
        client = client_context(TlsFiles(ca=str(authority.certificate)))
        assert node.answer(tls=client) is None


def test_ten_senders_at_once_never_exceed_a_limit(tmp_path: Path) -> None:
    with receiving(tmp_path, accept="any", max_associations=3) as node:
        ready, go_on = threading.Barrier(11), threading.Event()
        outcomes: list[bool] = []

        def send() -> None:
            with node.scu() as scu:
                ready.wait(60)
                try:
                    scu.associate(CONTEXTS)
                except AssociationRejected:
                    outcomes.append(False)
                else:
                    outcomes.append(True)
                    go_on.wait(60)

        senders = [threading.Thread(target=send) for _ in range(10)]
        for sender in senders:
            sender.start()
        ready.wait(60)
        until(lambda: len(outcomes) == 10)
        go_on.set()
        for sender in senders:
            sender.join()
    assert sorted(outcomes) == [False] * 7 + [True] * 3
