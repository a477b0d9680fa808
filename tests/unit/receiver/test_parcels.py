"""When a parcel is closed, and that nothing is in two of them."""

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossdock.config import StoreNode
from crossdock.dicom.part10 import file_meta
from crossdock.dicom.storage_scp import Caller
from crossdock.model import Parcel
from crossdock.spool import Spool
from receiver.parcels import Parcels, Received
from waiting import until


SYNTAX, CLASS = "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.2"


class Bench:
    """A spool, its growing parcels, and what was closed so far."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root)
        self.spool.prepare()
        self.closed: queue.Queue[Parcel] = queue.Queue()
        self.parcels = Parcels(self.spool, self.closed.put)
        self.parcels.start()

    def receive(self, caller: Caller, number: int, series: str = "1.2.3", **node: object) -> None:
        settings = {"name": "n", "ae_title": "X", "port": 11112, "accept": "any", **node}
        uid = f"1.2.840.99.{number}"
        arrival = self.spool.arrival()
        meta = file_meta(sop_class_uid=CLASS, sop_instance_uid=uid, transfer_syntax_uid=SYNTAX)
        arrival.write([meta, b"dataset"])
        received = Received(CLASS, uid, SYNTAX, "1.2", series)
        self.parcels.place(StoreNode.model_validate(settings), caller, arrival, received)

    def next(self) -> Parcel:
        return self.closed.get(timeout=20)


def caller(association: str, title: str = "CT1") -> Caller:
    return Caller(association, title, "X", "127.0.0.1", 1)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "spool")
    yield bench
    bench.parcels.stop()


def test_a_parcel_is_closed_when_its_association_has_ended(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.receive(caller("a"), number)
    assert bench.closed.empty()
    bench.parcels.association_ended("a")
    parcel = bench.next()
    assert [each.number for each in parcel.instances] == [1, 2, 3]
    assert parcel.series_instance_uid == "1.2.3"
    stored = bench.spool.find(parcel.id)
    assert stored is not None
    assert stored.parcel == parcel
    assert all(stored.file(each).is_file() for each in parcel.instances)


def test_parallel_associations_of_one_source_share_a_parcel_until_the_last_has_ended(
    bench: Bench,
) -> None:
    bench.receive(caller("a"), 1)
    bench.receive(caller("b"), 2)
    bench.parcels.association_ended("a")
    bench.receive(caller("b"), 3)
    bench.parcels.association_ended("b")
    assert len(bench.next().instances) == 3


def test_other_sources_and_series_have_parcels_of_their_own(bench: Bench) -> None:
    bench.receive(caller("a"), 1, series="1.2.3")
    bench.receive(caller("a"), 2, series="1.2.4")
    bench.receive(caller("b", "MR7"), 3, series="1.2.3")
    bench.parcels.association_ended("a")
    bench.parcels.association_ended("b")
    keys = {(p.calling_ae_title, p.series_instance_uid) for p in (bench.next() for _ in range(3))}
    assert keys == {("CT1", "1.2.3"), ("CT1", "1.2.4"), ("MR7", "1.2.3")}


def test_a_parcel_is_closed_at_its_size_while_the_association_goes_on(bench: Bench) -> None:
    for number in range(1, 8):
        bench.receive(caller("a"), number, parcel_instances=3)
    assert len(bench.next().instances) == 3
    assert len(bench.next().instances) == 3
    bench.parcels.association_ended("a")
    assert len(bench.next().instances) == 1


def test_a_parcel_is_closed_after_a_quiet_time_while_the_association_stays_open(
    bench: Bench,
) -> None:
    bench.receive(caller("a"), 1, quiet_seconds=0.05)
    assert len(bench.next().instances) == 1
    bench.receive(caller("a"), 2, quiet_seconds=0.05)
    assert len(bench.next().instances) == 1


def test_stopping_closes_what_still_grows(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "spool")
    bench.receive(caller("a"), 1)
    bench.parcels.stop()
    assert len(bench.next().instances) == 1
    assert not list(bench.spool.opened.iterdir())


def test_what_a_dead_receiver_left_open_is_closed_with_all_that_was_confirmed(
    tmp_path: Path,
) -> None:
    dead = Bench(tmp_path / "spool")
    for number in (1, 2):
        dead.receive(caller("a"), number)
    alive = Spool(tmp_path / "spool")
    assert list(alive.recover()) == [], "its receiver lives, so it is left alone"
    for growing in dead.parcels._open.values():  # noqa: SLF001 — as its death would
        growing.parcel.abandon()
    recovered = list(alive.recover())
    assert [len(parcel.instances) for parcel in recovered] == [2]
    assert recovered[0].series_instance_uid == "1.2.3"
    until(lambda: not list(alive.opened.iterdir()))


def test_instances_synced_by_association_are_there_when_it_has_ended(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.receive(caller("a"), number, sync="association")
    bench.parcels.association_ended("a")
    assert len(bench.next().instances) == 3


def test_instances_that_are_not_synced_are_handed_on_all_the_same(bench: Bench) -> None:
    bench.receive(caller("a"), 1, sync="none")
    bench.parcels.association_ended("a")
    assert len(bench.next().instances) == 1
