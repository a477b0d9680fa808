"""Urgent deliveries overtake the others, and give them their share."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from crossdock.bus.topology import deliveries
from crossdock.config import Rule
from crossdock.config.snapshot import Gateway
from crossdock.config.targets import Target
from crossdock.model import InstanceOutcome, Priority
from crossdock.protocols import ADAPTERS, Outgoing
from crossdock.protocols.folder import FolderAdapter
from crossdock.spool import StoredParcel
from dispatcher.consume import Consumers
from dispatcher.dispatch import Dispatch
from dispatcher.retry import RetryPolicy
from parcels import route, store_parcel
from studies import make_ct
from unit.dispatcher.places import Place
from waiting import until


URGENT, NORMAL, OFF_PEAK = Priority


class Ranked(Place):
    """A place that knows the priority of each parcel."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.ids: dict[str, Priority] = {}

    def send(self, priority: Priority, count: int = 1) -> StoredParcel:
        """Store a parcel of ``count`` instances and send the message of its delivery."""
        files = make_ct(self.directory / f"study-{len(self.ids)}", count)
        stored = store_parcel(self.spool, files)
        self.ids[stored.id] = priority
        (message,) = route(stored, "research", priority=priority)
        self.bus.send(deliveries(message.target, message.priority), message)
        return stored

    def order(self, count: int) -> list[Priority]:
        """Return the priorities of the deliveries in the order of their ends."""
        return [self.ids[end.delivery.partition("-")[0]] for end in self.ends(count)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Ranked]:
    place = Ranked(tmp_path)
    yield place
    place.close()


@pytest.fixture
def consumers(place: Ranked) -> Iterator[Consumers]:
    dispatch = Dispatch(place.spool, place.bus, RetryPolicy(), place.stopping)
    consumers = Consumers(place.bus, dispatch.handle, ["folder"], RetryPolicy())
    consumers.start()
    yield consumers
    place.stopping.set()
    consumers.close(5.0)


def gateway(target: Target, *priorities: Priority) -> Gateway:
    rules = [Rule(name=each, targets=(target.name,), priority=each) for each in priorities]
    return Gateway.model_construct(targets=(target,), rules=tuple(rules))


def test_urgent_deliveries_come_first_off_peak_ones_last_and_all_come(
    place: Ranked, consumers: Consumers
) -> None:
    for priority, count in ((OFF_PEAK, 3), (NORMAL, 12), (URGENT, 6)):
        for _ in range(count):
            place.send(priority)
    consumers.configure(gateway(place.target(), *Priority))
    ends = place.order(21)
    assert ends.index(URGENT) < 6
    last = {each: max(i for i, end in enumerate(ends) if end is each) for each in Priority}
    assert last[URGENT] < last[NORMAL]
    assert last[URGENT] < last[OFF_PEAK]


def test_with_several_places_and_all_priorities_every_delivery_comes_once(
    place: Ranked, consumers: Consumers
) -> None:
    consumers.configure(gateway(place.target(concurrency=4), *Priority))
    for number in range(60):
        place.send(tuple(Priority)[number % 3], 1 + number % 4)
    place.ends(60)
    assert len({end.delivery for end in place.ends(60)}) == 60
    assert len(place.files()) == sum(1 + number % 4 for number in range(60))


def test_a_long_delivery_gives_way_to_an_urgent_one_and_nothing_is_sent_twice(
    place: Ranked, consumers: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(FolderAdapter):
        def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
            for outcome in super().send(instances):
                begun.set()
                assert go_on.wait(60)
                yield outcome

    monkeypatch.setitem(ADAPTERS, "folder", Slow)
    consumers.configure(gateway(place.target(), NORMAL, URGENT))
    place.send(NORMAL, 40)
    assert begun.wait(60)
    urgent = place.send(URGENT)
    until(lambda: urgent.in_work("research"), what="the urgent one waits for its turn")
    go_on.set()
    assert place.order(2) == [URGENT, NORMAL]
    assert place.ends(2)[1].delivered == 40
    first, second = place.attempts(2)
    assert (first.kind, second.kind) == ("", "")
    assert second.attempt > 1


def test_a_priority_that_rules_begin_or_cease_to_use_is_consumed_or_not(
    place: Ranked, consumers: Consumers
) -> None:
    place.send(URGENT)
    place.send(NORMAL)
    consumers.configure(gateway(place.target(), NORMAL))
    assert place.order(1) == [NORMAL]
    consumers.configure(gateway(place.target(), NORMAL, URGENT))
    assert place.order(2) == [NORMAL, URGENT]
