"""Time windows: when a target's queue is consumed, under a clock of our own."""

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from crossdock.bus.topology import deliveries
from crossdock.config import Rule
from crossdock.config.snapshot import Gateway
from crossdock.config.targets import Target
from crossdock.model import InstanceOutcome, Priority
from crossdock.protocols import ADAPTERS, Outgoing
from crossdock.protocols.folder import FolderAdapter
from dispatcher.consume import Consumers
from dispatcher.dispatch import Dispatch
from dispatcher.retry import RetryPolicy
from unit.dispatcher.places import Place
from waiting import until


NIGHT = {"windows": [{"from": "19:00", "to": "06:30"}], "time_zone": "Europe/Berlin"}
NOON, EVENING = "2026-11-23T12:00", "2026-11-23T18:00"  # in UTC: 19:00 in Berlin


class Clock:
    """Consumers under a clock that stands still until it is set."""

    def __init__(self, place: Place) -> None:
        self._now = 0.0
        self._targets: tuple[Target, ...] = ()
        dispatch = Dispatch(place.spool, place.bus, RetryPolicy(), place.stopping)
        self.consumers = Consumers(
            place.bus, dispatch.handle, ["folder"], RetryPolicy(), lambda: self._now
        )
        self.consumers.start()

    def set(self, when: str, *targets: Target) -> None:
        """Set the clock, and have it looked at."""
        self._now = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
        self._targets = targets or self._targets
        rules = tuple(
            Rule(name=each.name, targets=(each.name,), priority=Priority.URGENT)
            for each in self._targets
        )
        gateway = Gateway.model_construct(targets=self._targets, rules=rules)
        self.consumers.configure(gateway)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def clock(place: Place) -> Iterator[Clock]:
    clock = Clock(place)
    yield clock
    place.stopping.set()
    clock.consumers.close(5.0)


def send(place: Place, count: int, target: str) -> None:
    _, message = place.parcel(count, target)
    place.bus.send(deliveries(target), message)


def closed(target: str) -> Callable[[], bool]:
    labels = {"target": target}
    return lambda: REGISTRY.get_sample_value("crossdock_target_window_closed", labels) == 1.0


def test_outside_its_window_a_target_gets_nothing_and_others_do(place: Place, clock: Clock) -> None:
    send(place, 2, "night")
    clock.set(NOON, place.target("night", **NIGHT), place.target("research"))
    send(place, 1, "research")
    place.ends(1)
    assert place.bus.depth(deliveries("night")) == 1
    clock.set(EVENING)
    assert place.ends(2)[1].delivered == 2


def test_a_window_that_closes_lets_the_instance_under_way_end_and_nothing_fails(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(FolderAdapter):
        def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
            for outcome in super().send(instances):
                begun.set()
                assert go_on.wait(60)
                yield outcome

    monkeypatch.setitem(ADAPTERS, "folder", Slow)
    stored, message = place.parcel(12, "night")
    place.bus.send(deliveries("night"), message)
    clock.set(EVENING, place.target("night", **NIGHT))
    assert begun.wait(60)
    clock.set(NOON)
    until(closed("night"), what="the window is seen to be closed")
    go_on.set()
    until(lambda: place.bus.depth(deliveries("night")) == 1, what="it is given back")
    assert 1 <= len(place.files()) < 12
    record = stored.record("night")
    assert (record.attempts, record.setbacks, record.next_try) == (0, 0, 0.0)
    clock.set(EVENING)
    assert place.ends(1)[0].delivered == 12


def test_what_is_urgent_passes_a_closed_window_where_the_target_says_so(
    place: Place, clock: Clock
) -> None:
    targets = [place.target("night", **NIGHT, urgent_any_time=True), place.target("day", **NIGHT)]
    urgent = {}
    for target in targets:
        send(place, 1, target.name)
        stored, _ = place.parcel(1, target.name)
        urgent[target.name] = queue = deliveries(target.name, Priority.URGENT)
        place.bus.send(queue, stored.delivery_routed(stored.record(target.name).routed))
    clock.set(NOON, *targets)
    (end,) = place.ends(1)
    assert end.delivery.endswith("-night")
    depths = {queue: place.bus.depth(queue) for queue in urgent.values()}
    assert depths == {urgent["night"]: 0, urgent["day"]: 1}
    assert place.bus.depth(deliveries("night")) == 1
    clock.set(EVENING)
    place.ends(4)
