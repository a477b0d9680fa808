"""A target that keeps the order gets the instances of a series as they came, over all parcels."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from crossdock.bus import Retry
from crossdock.bus.topology import deliveries
from crossdock.config.snapshot import Gateway
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.messages import Message
from crossdock.model import DeliveryState, InstanceOutcome
from crossdock.protocols import ADAPTERS, Outgoing
from crossdock.protocols.folder import FolderAdapter
from crossdock.spool import StoredParcel
from dispatcher.consume import Consumers
from dispatcher.dispatch import Dispatch
from dispatcher.order import SeriesOrder
from dispatcher.retry import RetryPolicy
from parcels import route, store_parcel
from studies import make_ct
from unit.dispatcher.places import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


def parcel(place: Place, name: str, count: int = 1, series: str = "1.2.3.4") -> StoredParcel:
    """Store a parcel of a series; it is not routed."""
    return store_parcel(place.spool, make_ct(place.directory / name, count), series=series)


def test_a_delivery_waits_for_an_older_one_of_its_series_and_for_no_other(place: Place) -> None:
    first, second = parcel(place, "first"), parcel(place, "second")
    other = parcel(place, "other", series="9.9")
    messages = [route(each, "research", "archive")[0] for each in (first, second, other)]
    ordered = place.target(keep_order=True)
    dispatch = place.dispatch()
    with pytest.raises(Retry) as raised:
        dispatch(ordered, messages[1])
    assert raised.value.delay == 1.0
    dispatch(ordered, messages[2])
    dispatch(ordered, messages[0])
    dispatch(ordered, messages[1])
    ends = [end.delivery.partition("-")[0] for end in place.ends(3)]
    assert ends == [other.id, first.id, second.id]
    assert place.spool.find(first.id) is not None, "the archive has not got it yet"


def test_one_that_is_not_routed_yet_counts_and_one_that_goes_elsewhere_does_not(
    place: Place,
) -> None:
    first, second = parcel(place, "first"), parcel(place, "second")
    (message,) = route(second, "research")
    dispatch = place.dispatch()
    with pytest.raises(Retry):
        dispatch(place.target(keep_order=True), message)
    route(first, "archive")
    dispatch(place.target(keep_order=True), message)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED


def test_what_is_held_holds_up_nobody(place: Place) -> None:
    first, second = parcel(place, "first"), parcel(place, "second")
    route(first, "research")
    (message,) = route(second, "research")
    claim = first.claim("research")
    assert claim is not None
    dispatch = place.dispatch()
    with pytest.raises(Retry):
        dispatch(place.target(keep_order=True), message)
    first.conclude(claim, DeliveryState.HELD)
    dispatch(place.target(keep_order=True), message)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED


def test_it_is_looked_again_when_the_older_one_may_be_tried(place: Place) -> None:
    first, second = parcel(place, "first"), parcel(place, "second")
    for each in (first, second):
        route(each, "research")
    order = SeriesOrder(place.spool, "research")
    older = order.older(second)
    assert older is not None
    assert older.id == first.id
    claim = first.claim("research")
    assert claim is not None
    claim.note(failed={"kind": "busy", "next_try": 130.0, "counts": False})
    claim.release()
    assert [order.patience(older, now) for now in (0.0, 100.0, 200.0)] == [60.0, 30.0, 1.0]
    assert order.older(first) is None


def test_with_several_at_once_and_late_parcels_all_arrive_in_their_order(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class Noting(FolderAdapter):
        def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
            given = list(instances)
            assert len(given) == 1
            sent.append(given[0].instance.sop_instance_uid)
            return super().send(given)

    monkeypatch.setitem(ADAPTERS, "folder", Noting)
    stored = [parcel(place, f"part-{number}", 3) for number in range(6)]
    messages: list[Message] = []
    for each in stored:
        messages += route(each, "research")
    for message in reversed(messages):
        place.bus.send(deliveries("research"), message)
    policy = RetryPolicy()
    dispatch = Dispatch(place.spool, place.bus, policy, place.stopping)
    consumers = Consumers(place.bus, dispatch.handle, ["folder"], policy)
    consumers.start()
    target = place.target(keep_order=True, concurrency=4)
    consumers.configure(Gateway.model_construct(targets=(target,)))
    try:
        place.ends(6)
    finally:
        consumers.close(5.0)
    every = [each.sop_instance_uid for part in stored for each in part.parcel.instances]
    assert sent == every


def test_after_a_broken_connection_it_goes_on_with_the_first_that_is_missing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[int] = []

    class Breaking(FolderAdapter):
        """A peer that breaks the connection at one instance, the first few times."""

        def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
            for each in instances:
                offered.append(each.instance.number)
                if each.instance.number == 2 and offered.count(2) < 3:
                    raise DeliveryError(ErrorKind.UNREACHABLE, "aborted", temporary=True)
                yield from super().send([each])

    monkeypatch.setitem(ADAPTERS, "folder", Breaking)
    (message,) = route(parcel(place, "one", 3), "research")
    dispatch = place.dispatch(scale=1e-9)
    for _ in range(2):
        with pytest.raises(Retry):
            dispatch(place.target(keep_order=True), message)
    dispatch(place.target(keep_order=True), message)
    assert offered == [1, 2, 2, 2, 3]
