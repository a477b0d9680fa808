"""What becomes of one delivery, with a real bus, spool and folder."""

import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from crossdock.bus import Retry, connect
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import DeliveryState, InstanceOutcome, Outcome
from crossdock.protocols import ADAPTERS, Outgoing
from crossdock.protocols.folder import FolderAdapter
from dispatcher.deliver import in_turn
from dispatcher.dispatch import Dispatch
from dispatcher.orphans import orphans
from dispatcher.retry import RetryPolicy
from parcels import route, store_parcel
from studies import make_ct
from unit.dispatcher.places import Place


AT_ONCE = 1e-9  # the scale at which every retry is due when it is decided


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def test_a_delivery_is_sent_told_about_concluded_and_its_parcel_retired(place: Place) -> None:
    stored, message = place.parcel(3)
    place.dispatch()(place.target(), message)
    assert len(place.files()) == 3
    (attempt,) = place.attempts(1)
    assert (attempt.attempt, attempt.delivered, attempt.not_sent) == (1, 3, 0)
    (end,) = place.ends(1)
    assert (end.state, end.delivered, end.missing) == (DeliveryState.DELIVERED, 3, 0)
    assert place.spool.find(stored.id) is None
    assert [each.id for each in place.spool.all_retired()] == [stored.id]
    assert place.reports == [None]


def test_a_parcel_stays_until_its_last_delivery_is_final(place: Place) -> None:
    stored, message = place.parcel(1, "research", "archive")
    place.dispatch()(place.target(), message)
    assert stored.targets("done") == ["research"]
    assert stored.targets("pending") == ["archive"]
    assert place.spool.find(stored.id) is not None


def test_only_the_routed_instances_are_sent(place: Place) -> None:
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", 4))
    (message,) = route(stored, "research", instances=(2, 4))
    place.dispatch()(place.target(), message)
    assert [path.parent.name for path in place.files()] == ["2", "4"]
    assert place.ends(1)[0].delivered == 2


def test_a_message_that_comes_again_is_stale(place: Place) -> None:
    _, message = place.parcel(1)
    for _ in range(3):
        place.dispatch()(place.target(), message)
    place.ends(1)
    assert len(place.reports) == 1


def test_a_delivery_that_somebody_works_at_is_left_to_them(place: Place) -> None:
    stored, message = place.parcel(1)
    claim = stored.claim("research")
    assert claim is not None
    place.dispatch()(place.target(), message)
    assert place.files() == []
    claim.release()


def test_a_message_that_comes_before_its_time_is_put_back(place: Place) -> None:
    stored, message = place.parcel(1)
    claim = stored.claim("research")
    assert claim is not None
    claim.note(failed={"kind": "busy", "next_try": time.time() + 100, "counts": False})
    claim.release()
    with pytest.raises(Retry) as raised:
        place.dispatch()(place.target(), message)
    assert 95 < raised.value.delay <= 100
    assert place.reports == []


def test_a_target_that_is_away_burns_no_attempt_however_often(place: Place) -> None:
    stored, message = place.parcel(2)
    away = place.folder.rename(place.directory / "away")
    dispatch = place.dispatch(scale=AT_ONCE)
    for setbacks in range(1, 9):
        with pytest.raises(Retry):
            dispatch(place.target(), message)
        record = stored.record("research")
        assert (record.setbacks, record.attempts) == (setbacks, 0)
    attempt = place.attempts(8)[0]
    assert (attempt.kind, attempt.not_sent, attempt.failures) == ("unreachable", 2, ())
    assert attempt.next_try is not None
    assert "is it mounted" in attempt.detail
    away.rename(place.folder)
    dispatch(place.target(), message)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED
    assert None not in place.reports[:8]
    assert place.reports[8:] == [None]
    assert place.again == [False] + 8 * [True]


def test_refused_instances_are_tried_five_times_then_held_and_only_they_are_sent_again(
    place: Place,
) -> None:
    stored, message = place.parcel(3)
    (place.folder / "2").touch()
    dispatch = place.dispatch(scale=AT_ONCE)
    for attempt in range(1, 5):
        with pytest.raises(Retry):
            dispatch(place.target(), message)
        record = stored.record("research")
        assert (record.attempts, record.tries) == (attempt, attempt)
    dispatch(place.target(), message)
    (end,) = place.ends(1)
    assert (end.state, end.delivered, end.missing) == (DeliveryState.HELD, 2, 1)
    assert "5 attempts" in end.reason
    assert "1 of 3 instances were refused" in end.reason
    assert stored.targets("held") == ["research"]
    first = place.attempts(5)[0]
    assert [(each.number, each.outcome) for each in first.failures] == [(2, Outcome.REFUSED)]

    (place.folder / "2").unlink()
    kept = {path: path.stat().st_ino for path in place.files()}
    stored.resume("research")
    dispatch(place.target(), message)
    assert place.ends(2)[1].state is DeliveryState.DELIVERED
    assert {path: path.stat().st_ino for path in kept} == kept
    assert len(place.files()) == 3


def test_a_dispatcher_that_dies_before_it_holds_a_delivery_causes_no_sixth_attempt(
    place: Place,
) -> None:
    stored, message = place.parcel(1)
    claim = stored.claim("research")
    assert claim is not None
    for _ in range(5):
        claim.note(failed={"kind": "refused", "reason": "A900", "next_try": 0.0, "counts": True})
    claim.release()
    place.dispatch()(place.target(), message)
    assert (stored.targets("held"), place.files()) == (["research"], [])
    (end,) = place.ends(1)
    assert end.reason.startswith("5 attempts failed, the last one: A900")


def test_facts_that_the_broker_did_not_take_are_told_later_and_nothing_is_sent_twice(
    place: Place,
) -> None:
    stored, message = place.parcel(2)
    broken = connect(place.url)
    broken.close()
    with pytest.raises(Retry):
        place.dispatch(broken)(place.target(), message)
    assert stored.targets("pending") == ["research"]
    kept = {path: path.stat().st_ino for path in place.files()}
    place.dispatch()(place.target(), message)
    assert {path: path.stat().st_ino for path in place.files()} == kept
    assert place.attempts(1)[0].attempt == 1
    assert place.ends(1)[0].delivered == 2


def test_a_dispatcher_that_stops_notes_no_failure_and_goes_on_where_it_was(place: Place) -> None:
    stored, message = place.parcel(3)
    place.stopping.set()
    with pytest.raises(Retry) as raised:
        place.dispatch()(place.target(), message)
    assert raised.value.delay == 0
    record = stored.record("research")
    assert (len(record.outcomes), record.setbacks, record.attempts) == (1, 0, 0)
    place.stopping.clear()
    place.dispatch()(place.target(), message)
    assert place.ends(1)[0].delivered == 3


def test_a_damaged_instance_is_reported_and_the_others_are_delivered(place: Place) -> None:
    stored, message = place.parcel(3)
    with (stored.path / "2.dcm").open("ab") as file:
        file.truncate(100)
    with pytest.raises(Retry):
        place.dispatch()(place.target(), message)
    assert len(place.files()) == 2
    (attempt,) = place.attempts(1)
    assert (attempt.delivered, attempt.not_sent, attempt.kind) == (2, 1, "unexpected")
    assert "damaged" in attempt.failures[0].detail


def test_a_delivery_whose_parcel_is_damaged_is_held(place: Place) -> None:
    stored, message = place.parcel(1)
    (stored.path / "parcel.json").write_text("{")
    place.dispatch()(place.target(), message)
    (end,) = place.ends(1)
    assert end.state is DeliveryState.HELD
    assert "damaged" in end.reason
    assert stored.targets("held") == ["research"]


def test_a_damaged_marker_is_reported_once(place: Place) -> None:
    stored, message = place.parcel(1)
    stored.marker("research").write_text("nonsense\n")
    dispatch = place.dispatch()
    for _ in range(3):
        dispatch(place.target(), message)
    _, other = place.parcel(1)
    dispatch(place.target(), other)
    ends = place.ends(2)
    assert [end.state for end in ends] == [DeliveryState.HELD, DeliveryState.DELIVERED]


def test_a_message_of_a_parcel_that_is_gone_is_stale(place: Place) -> None:
    stored, message = place.parcel(1)
    shutil.rmtree(stored.path)
    place.dispatch()(place.target(), message)
    assert place.reports == []


def test_deliveries_of_targets_that_are_gone_are_found_and_held(place: Place) -> None:
    stored, _ = place.parcel(1, "research", "deleted")
    newer = store_parcel(place.spool, make_ct(place.directory / "newer", 1))
    route(newer, "added", revision=9)
    other = store_parcel(place.spool, make_ct(place.directory / "other", 1))
    route(other, "foreign", protocol="dicom")
    found = [
        (each.id, target) for each, target in orphans(place.spool, ["folder"], {"research"}, 3)
    ]
    assert found == [(stored.id, "deleted")]
    dispatch = Dispatch(place.spool, place.bus, RetryPolicy(), place.stopping)
    dispatch.hold(stored, "deleted", "target deleted is no longer configured")
    (end,) = place.ends(1)
    assert (end.state, end.missing) == (DeliveryState.HELD, 1)
    assert "no longer configured" in end.reason
    assert stored.targets("held") == ["deleted"]
    assert list(orphans(place.spool, ["folder"], {"research"}, 3)) == []


def test_a_fault_in_an_adapter_becomes_a_reason_without_its_words(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Faulty(FolderAdapter):
        def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
            for outgoing in instances:
                raise KeyError(f"PATIENT^{outgoing.instance.number}")
            yield from ()

    monkeypatch.setitem(ADAPTERS, "folder", Faulty)
    stored, message = place.parcel(2)
    with pytest.raises(Retry):
        place.dispatch()(place.target(), message)
    attempt = place.attempts(1)[0]
    assert (attempt.kind, attempt.not_sent) == ("unexpected", 2)
    assert "KeyError at test_dispatch.py" in attempt.detail
    assert "PATIENT" not in attempt.detail
    assert stored.record("research").attempts == 1


def test_after_a_broken_connection_the_next_try_begins_one_instance_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking(FolderAdapter):
        """A peer that breaks the connection at one instance, always."""

        def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
            for outgoing in instances:
                if outgoing.instance.number == 2:
                    raise DeliveryError(ErrorKind.UNREACHABLE, "aborted", temporary=True)
                yield from super().send([outgoing])

    monkeypatch.setitem(ADAPTERS, "folder", Breaking)
    stored, message = place.parcel(5)
    dispatch = place.dispatch(scale=AT_ONCE)
    for _ in range(2):
        with pytest.raises(Retry):
            dispatch(place.target(), message)
    assert sorted(stored.record("research").outcomes) == [1, 3, 4, 5]


def test_instances_of_one_uid_keep_their_order_in_every_try(place: Place) -> None:
    stored, _ = place.parcel(3)
    outgoing = [Outgoing(each, stored.file(each)) for each in stored.parcel.instances]
    assert [each.instance.number for each in in_turn(outgoing, 1)] == [2, 3, 1]
    twice = outgoing[0].instance.model_copy(update={"number": 4})
    outgoing.append(Outgoing(twice, outgoing[0].path))
    assert all(in_turn(outgoing, setbacks) == outgoing for setbacks in range(5))


def test_a_delivery_that_is_enough_for_now_goes_back_without_a_failure(place: Place) -> None:
    stored, message = place.parcel(12)
    with pytest.raises(Retry) as raised:
        place.dispatch(enough=lambda: True)(place.target(), message)
    assert raised.value.delay == 0
    assert 1 <= len(place.files()) < 12
    record = stored.record("research")
    assert (record.attempts, record.setbacks, record.reason) == (0, 0, "")
    assert place.reports == []
    kept = {path: path.stat().st_ino for path in place.files()}
    place.dispatch()(place.target(), message)
    assert place.ends(1)[0].delivered == 12
    assert {path: path.stat().st_ino for path in kept} == kept


def test_the_last_instance_ends_a_delivery_even_when_it_is_enough(place: Place) -> None:
    _, message = place.parcel(1)
    place.dispatch(enough=lambda: True)(place.target(), message)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED
