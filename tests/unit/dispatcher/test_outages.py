"""Long outages by a simulated clock: nothing is lost, no attempt is burned, nobody has to help.

The real spool, dispatcher and breaker; only the peer, the broker and the time are simulated.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from threading import Event

import pytest

from contract.remotes import make_target, outgoing_of
from crossdock.bus import Retry
from crossdock.bus.topology import deliveries
from crossdock.dicom.status import Status
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.messages import DeliveryRouted
from crossdock.protocols import ADAPTERS
from crossdock.protocols.dicom.offering import judge
from crossdock.spool import DeliveryRecord, Spool
from dispatcher.adapters import Adapters
from dispatcher.breaker import Breaker
from dispatcher.dispatch import Dispatch
from dispatcher.retry import Failure, RetryPolicy
from parcels import make_spool, route, store_parcel
from studies import make_ct
from unit.dispatcher.simulation import Peer, Plan, SimulatedBus


POLICY = RetryPolicy()
MINUTE, HOUR = 60.0, 3600.0
WEEKEND = 64 * HOUR  # Friday 16:00 to Monday 08:00
LONGEST_PAUSE = POLICY.pause * (1 + POLICY.jitter)
SHORTEST_PAUSE = POLICY.pause * (1 - POLICY.jitter)  # once it is as long as it gets
QUEUE = deliveries("archive")
DELIVERIES = 150  # of many, each is tried less often, and has a shorter journal to read


def full(path: Path, room: int = 0) -> Plan:
    """A PACS takes ``room`` instances and answers A700 to the next; what our adapter makes of it."""
    with pytest.raises(DeliveryError) as raised:
        judge(outgoing_of([path])[0], Status.OUT_OF_RESOURCES)
    return Plan(after=room, end=raised.value)


def dead() -> Plan:
    """Nobody is there."""
    refused = "connect: connection refused"
    return Plan(end=DeliveryError(ErrorKind.UNREACHABLE, refused, temporary=True))


def well() -> Plan:
    """All is taken."""
    return Plan()


class Night:
    """One dispatcher and one target, through hours that take no time."""

    def __init__(self, spool: Spool, peer: Peer) -> None:
        self.spool = spool
        self.peer = peer
        self.bus = SimulatedBus()
        self.began = self.now = 1.8e9
        self.breaker = Breaker(POLICY)
        self.plan: Callable[[DeliveryRouted], Plan] = lambda _: well()
        self._dispatch = Dispatch(spool, self.bus, POLICY, Event(), clock=lambda: self.now)
        self._target = make_target({"type": "folder", "name": "archive", "path": "/none"})
        self._dice = random.Random(7)

    def arrive(self, paths: list[Path]) -> DeliveryRouted:
        """Let a parcel arrive that the target is to get."""
        (message,) = route(store_parcel(self.spool, paths), "archive")
        self.bus.send(QUEUE, message)
        return message

    def lasts(self, seconds: float) -> None:
        """Let time pass, and the dispatcher do in it what its breaker lets it do."""
        end = self.now + seconds
        while self.now < end:
            self.bus.now = self.now
            pause = self.breaker.paused(self.now).get("archive")
            message = None if pause else self.bus.take(QUEUE)
            if isinstance(message, DeliveryRouted):
                self._attempt(message)
            else:
                self.now = min([end, *([pause.until] if pause else self._due())])

    def records(self) -> Iterator[DeliveryRecord]:
        """Yield what is known of each delivery that is not final."""
        for stored in self.spool.stored():
            for state in ("pending", "held"):
                for target in stored.targets(state):
                    yield stored.record(target, state)

    def _due(self) -> list[float]:
        return [due for due, _ in self.bus.queues[QUEUE] if due > self.now]

    def _attempt(self, message: DeliveryRouted) -> None:
        self.peer.plan = self.plan(message)
        with closing(Adapters(self._target)) as adapters:
            try:
                turn = nullcontext(lambda: False)
                self._dispatch.handle(adapters, message, self._report, lambda: turn)
            except Retry as again:
                self.bus.give_back(QUEUE, message, again.delay)

    def _report(self, failure: Failure | None, *, again: bool) -> float | None:
        chance = self._dice.random()
        return self.breaker.report("archive", failure, self.now, chance, again=again)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    peer = Peer()
    monkeypatch.setitem(ADAPTERS, "folder", peer.adapter)
    return Night(make_spool(tmp_path / "spool"), peer)


@pytest.mark.parametrize(
    ("seconds", "why"), [(HOUR, "A700 out of resources"), (WEEKEND, "connection refused")]
)
def test_an_outage_of_any_length_costs_a_try_a_minute_and_no_attempt(
    night: Night, tmp_path: Path, seconds: float, why: str
) -> None:
    paths = make_ct(tmp_path / "ct", 2)
    night.plan = lambda _: full(paths[0]) if "A700" in why else dead()
    for _ in range(DELIVERIES):
        night.arrive(paths)
    night.lasts(seconds)
    waiting = list(night.records())
    assert len(waiting) == DELIVERIES
    assert {record.attempts for record in waiting} == {0}
    assert sum(record.tries for record in waiting) == night.peer.asked
    # About once a minute, and four times more while the pauses grow.
    assert seconds / LONGEST_PAUSE <= night.peer.asked <= seconds / SHORTEST_PAUSE + 5
    assert why in night.breaker.paused(night.now)["archive"].reason

    asked, night.plan = night.peer.asked, lambda _: well()
    night.lasts(LONGEST_PAUSE + 1)
    assert list(night.records()) == []
    assert night.peer.asked == asked + DELIVERIES
    assert night.peer.repeated == 0
    assert night.breaker.failed() == []


def test_a_pacs_with_room_for_a_few_keeps_them_and_is_sent_the_rest_later(
    night: Night, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 8)
    rooms = iter([3, 0, 0, 2])
    night.plan = lambda _: full(paths[0], next(rooms, 0))
    night.arrive(paths)
    night.lasts(HOUR)
    (record,) = night.records()
    assert (record.attempts, len(record.outcomes)) == (0, 5)
    night.plan = lambda _: well()
    night.lasts(LONGEST_PAUSE + 1)
    assert list(night.records()) == []
    assert night.peer.repeated == 0


def test_a_delivery_that_alone_is_answered_a700_waits_by_itself_and_delays_no_other(
    night: Night, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 1)
    large = night.arrive(paths).delivery
    night.plan = lambda message: full(paths[0]) if message.delivery == large else well()
    for _ in range(60):
        night.arrive(paths)
        night.lasts(MINUTE)
        assert len(list(night.records())) <= 2
    (record,) = night.records()
    assert record.attempts == 0
    assert record.tries <= 16
    assert "A700" in record.reason
    assert 0 < record.next_try - night.now <= POLICY.longest * (1 + POLICY.jitter)
