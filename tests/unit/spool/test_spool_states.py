"""Whatever happens to parcels in whatever order, none is lost and none is in two places."""

import tempfile
import threading
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from crossdock.model import DeliveryState
from crossdock.spool import Routed, Spool
from crossdock.spool.open_parcel import OpenParcel
from parcels import make_spool, route, store_parcel
from studies import make_ct


TARGETS = ("archive", "research", "trial")


def by_hand(target: str) -> Routed:
    return Routed(target=target, protocol="folder", rules=(), revision=1, at=1.0, again_at=1.0)


class Parcels(RuleBasedStateMachine):
    """A receiver, a router, dispatchers and people at work; any of them may die at any point."""

    routed = Bundle("routed")
    unrouted = Bundle("unrouted")
    in_held = Bundle("in_held")

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        root = Path(self._directory.name)
        self.spool = make_spool(root / "spool")
        self.paths = make_ct(root / "ct", 2, size=10)
        self.expected: dict[str, dict[str, str]] = {}

    def teardown(self) -> None:
        self._directory.cleanup()

    @rule(target=unrouted)
    def receive(self) -> str:
        stored = store_parcel(self.spool, self.paths)
        self.expected[stored.id] = {}
        return stored.id

    @rule(
        target=routed,
        parcel=consumes(unrouted),
        names=st.sets(st.sampled_from(TARGETS), min_size=1),
    )
    def route(self, parcel: str, names: set[str]) -> str:
        stored = self.spool.find(parcel)
        assert stored is not None
        route(stored, *sorted(names))
        route(stored, *TARGETS)  # a router that died after it, and starts again
        self.expected[parcel] = dict.fromkeys(names, "pending")
        return parcel

    @rule(target=in_held, parcel=consumes(unrouted))
    def hold_unwanted(self, parcel: str) -> str:
        stored = self.spool.find(parcel)
        assert stored is not None
        self.spool.hold(stored, "no rule wanted it")
        return parcel

    @rule(target=unrouted, parcel=consumes(in_held))
    def unhold(self, parcel: str) -> str:
        held = self.spool.find_held(parcel)
        assert held is not None
        assert held.note() == "no rule wanted it"
        self.spool.unhold(held)
        return parcel

    @rule(
        parcel=routed,
        name=st.sampled_from(TARGETS),
        end=st.sampled_from([None, DeliveryState.DELIVERED, DeliveryState.HELD]),
    )
    def work(self, parcel: str, name: str, end: DeliveryState | None) -> None:
        stored = self.spool.find(parcel)
        claim = stored.claim(name) if stored else None
        pending = self.expected[parcel].get(name) == "pending"
        assert (claim is not None) == pending
        if stored is None or claim is None:
            return
        assert stored.claim(name) is None
        claim.note(**{"try": 1})
        if end is None:
            claim.release()  # as the kernel does for a process that dies
            return
        stored.conclude(claim, end)
        self.expected[parcel][name] = "held" if end is DeliveryState.HELD else "done"

    @rule(parcel=routed, name=st.sampled_from(TARGETS), resume=st.booleans())
    def decide(self, parcel: str, name: str, resume: bool) -> None:
        stored = self.spool.find(parcel)
        if stored is None or self.expected[parcel].get(name) != "held":
            return
        if resume:
            stored.resume(name)
            assert stored.record(name).attempts == 0
        else:
            stored.discard_held(name, "not needed")
        self.expected[parcel][name] = "pending" if resume else "done"

    @rule(parcel=routed, name=st.sampled_from(TARGETS))
    def send(self, parcel: str, name: str) -> None:
        assert self.spool.add(parcel, by_hand(name)) is not None
        self.expected[parcel][name] = "pending"

    @rule(target=routed, parcel=consumes(in_held), name=st.sampled_from(TARGETS))
    def send_unwanted(self, parcel: str, name: str) -> str:
        assert self.spool.add(parcel, by_hand(name)) is not None
        self.expected[parcel] = {name: "pending"}
        return parcel

    @rule(parcel=routed)
    def retire(self, parcel: str) -> None:
        stored = self.spool.find(parcel)
        if stored is not None:
            finished = set(self.expected[parcel].values()) == {"done"}
            assert stored.retire(self.spool.retired) == finished
            assert not stored.retire(self.spool.retired)

    @invariant()
    def every_parcel_is_whole_and_in_one_place(self) -> None:
        found = [*self.spool.stored(), *self.spool.all_held(), *self.spool.all_retired()]
        assert sorted(stored.id for stored in found) == sorted(self.expected)
        for stored in found:
            assert len(stored.parcel.instances) == 2
            for instance in stored.parcel.instances:
                assert stored.file(instance).stat().st_size == instance.size
            states = {
                target: state
                for state in ("pending", "held", "done")
                for target in stored.targets(state)
            }
            assert states == self.expected[stored.id]


Parcels.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestParcels = Parcels.TestCase


def test_an_open_parcel_of_a_dead_receiver_is_closed_with_all_its_instances(
    tmp_path: Path,
) -> None:
    spool = make_spool(tmp_path / "spool")
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 12))
    whole = stored.parcel
    (stored.path / "parcel.json").unlink()
    stored.path.rename(spool.opened / stored.id)
    (parcel,) = spool.recover()
    assert parcel.instances == whole.instances
    assert parcel.study_instance_uid == whole.study_instance_uid
    assert list(spool.recover()) == []


def test_a_recovered_instance_whose_meta_is_damaged_goes_on(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 2))
    (stored.path / "1.dcm").write_bytes(b"damaged")
    (stored.path / "origin.json").write_text("{")
    stored.path.rename(spool.opened / stored.id)
    (parcel,) = spool.recover()
    assert [instance.number for instance in parcel.instances] == [1, 2]
    assert parcel.instances[0].sop_instance_uid == ""
    assert parcel.id == stored.id


def test_an_open_parcel_of_a_living_receiver_is_left_to_it(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    stored.path.rename(spool.opened / stored.id)
    alive = OpenParcel.adopt(spool.opened / stored.id)
    assert alive is not None
    assert list(spool.recover()) == []
    alive.abandon()
    assert len(list(spool.recover())) == 1


def test_the_unwanted_part_of_a_parcel_is_held_by_itself(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 4))
    part = spool.hold_part(stored, {2, 3}, "no rule wanted these")
    again = spool.hold_part(stored, {2, 3}, "no rule wanted these")
    assert part.path == again.path
    assert [each.number for each in part.parcel.instances] == [2, 3]
    assert all(part.file(each).exists() for each in part.parcel.instances)
    assert len(stored.parcel.instances) == 4


def test_several_who_hold_the_same_part_at_once_make_one_whole_part(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 12))
    begin, parts = threading.Barrier(4), []

    def hold() -> None:
        begin.wait(60)
        parts.append(spool.hold_part(stored, set(range(2, 13)), "no rule wants it"))

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(part.parcel.instances) for part in parts] == [11] * 4
    (held,) = spool.all_held()
    assert len(list(held.path.glob("*.dcm"))) == 11


def test_a_retired_parcel_is_deleted_whole_and_one_that_is_not_final_never(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    first, second = (store_parcel(spool, make_ct(tmp_path / "ct", 1)) for _ in range(2))
    for stored in (first, second):
        route(stored, "archive")
    claim = first.claim("archive")
    assert claim is not None
    first.conclude(claim, DeliveryState.DELIVERED)
    assert first.retire(spool.retired)
    second.path.rename(spool.retired / second.id)
    assert spool.delete_retired(first.id)
    assert not spool.delete_retired(first.id)
    assert not spool.delete_retired(second.id)
    assert [path.name for path in spool.retired.iterdir()] == [second.id]


def test_a_deletion_that_was_interrupted_is_finished(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 2))
    stored.path.rename(spool.retired / f".{stored.id}")
    (spool.retired / f".{stored.id}" / "1.dcm").unlink()
    assert list(spool.all_retired()) == []
    spool.finish_deletions()
    assert list(spool.retired.iterdir()) == []


def test_a_parcel_identifier_cannot_lead_out_of_the_spool(tmp_path: Path) -> None:
    spool: Spool = make_spool(tmp_path / "spool")
    for name in ("../held", "..", "", "a/b", "a\0b"):
        assert spool.find(name) is None
