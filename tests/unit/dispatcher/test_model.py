"""Whatever happens to deliveries in whatever order and however long it takes: none is lost, none
is tried for ever, and nothing that a target confirmed is offered to it again.

The real spool, router, reconciler, dispatcher, breaker and a person's requests, under a simulated
clock. The machine decides what peers answer, who dies where, and what becomes of messages.
"""

import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crossdock.bus import Retry
from crossdock.bus.topology import PARCELS, RETRY, deliveries, publish
from crossdock.config import parse_gateway
from crossdock.errors import BusError, DeliveryError, ErrorKind
from crossdock.messages import (
    DeliveryDiscardRequested,
    DeliveryRetryRequested,
    DeliveryRouted,
)
from crossdock.model import DeliveryState, Outcome, delivery_id
from crossdock.protocols import ADAPTERS
from crossdock.spool import DeliveryRecord, StoredParcel
from dispatcher.adapters import Adapters
from dispatcher.breaker import Breaker
from dispatcher.dispatch import Dispatch
from dispatcher.retry import Failure, RetryPolicy
from parcels import make_spool, store_parcel
from receiver.facts import parcel_received
from receiver.reconcile import Reconciler
from receiver.requests import Requests
from receiver.router import Router
from studies import make_ct
from unit.dispatcher.simulation import Killed, Peer, Plan, SimulatedBus, Stop, says_of_target


POLICY = RetryPolicy()
TARGETS = ("archive", "research")
LONGEST_PAUSE = max(POLICY.longest_asked, (1 + POLICY.jitter) * POLICY.longest)
ROUNDING = 1e-3
LONGEST_WAIT = max(POLICY.longest_asked, (1 + POLICY.jitter) * max(POLICY.refused))
STATES = ("pending", "held", "done")
SHM = Path("/dev/shm")  # noqa: S108 — of our own is what is made there, where a sync costs nothing

names = st.sampled_from(TARGETS)
answers = st.lists(
    st.sampled_from([Outcome.DELIVERED, Outcome.WARNING, Outcome.REFUSED]), min_size=1, max_size=3
)
failures = st.builds(
    DeliveryError,
    st.sampled_from(ErrorKind),
    st.just("as planned"),
    temporary=st.booleans(),
    retry_after=st.sampled_from([None, 0.0, 90.0, 1e9]),
)
ends = st.one_of(
    st.none(), failures, st.builds(Killed), st.builds(Stop), st.just(RuntimeError("a fault"))
)
mishaps = st.sampled_from([None, None, BusError("away"), Killed()])
plans = st.builds(Plan, answers, st.integers(0, 3), ends)
refusals = st.builds(Plan, st.just([Outcome.REFUSED]))


class Deliveries(RuleBasedStateMachine):
    """Parcels of three instances, two targets, and time."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None)
        root = Path(self._directory.name)
        self.spool = make_spool(root / "spool")
        self.paths = make_ct(root / "ct", 3, size=10)
        self.bus = SimulatedBus()
        self.peer = Peer()
        self.stopping = threading.Event()
        self.peer.stop = self.stopping.set
        self.expected: dict[str, set[str]] = {}  # the targets of each parcel, once it is routed
        self.counted: Counter[str] = Counter()
        self.now = time.time() + 60.0  # later than any change on the disk
        self.breaker = Breaker(POLICY)
        self.router = Router(self.spool, self.bus)
        self.requests = Requests(self.spool, self.bus)
        self.patch = pytest.MonkeyPatch()
        self.patch.setitem(ADAPTERS, "folder", self.peer.adapter)
        gateway = parse_gateway(
            {
                "targets": [{"name": t, "type": "folder", "path": "/none"} for t in TARGETS],
                "rules": [{"name": "everything", "targets": TARGETS}],
            }
        )
        self.settings = {target.name: target for target in gateway.targets}
        self.router.configure(gateway, 1)
        self._tick(0.0)

    def teardown(self) -> None:
        try:
            self._everything_ends()
        finally:
            self.patch.undo()
            self._directory.cleanup()

    def _tick(self, seconds: float) -> None:
        self.now += seconds
        self.bus.now = self.now

    # What happens

    @initialize(count=st.integers(1, 3))
    def parcels_are_routed(self, count: int) -> None:
        for _ in range(count):
            self.arrive(announced=True)
            self.route([])

    @precondition(lambda self: len(self.expected) < 4)
    @rule(announced=st.booleans())
    def arrive(self, announced: bool) -> None:
        stored = store_parcel(self.spool, self.paths)
        self.expected[stored.id] = set()
        if announced:
            publish(self.bus, parcel_received(stored.parcel))

    @rule(sends=st.lists(mishaps, max_size=6))
    def route(self, sends: list[BaseException | None]) -> None:
        message = self.bus.take(PARCELS)
        if message is None:
            return
        self.bus.mishaps = sends
        try:
            self.router.handle(message)
        except (BusError, Killed):
            self.bus.give_back(PARCELS, message)
        self.bus.mishaps = []

    @rule(name=names, plan=plans, sends=st.lists(mishaps, max_size=4))
    def attempt(self, name: str, plan: Plan, sends: list[BaseException | None]) -> None:
        if name not in self.breaker.paused(self.now):
            self._work(name, plan, sends)

    @rule(
        name=names,
        plans=st.lists(st.one_of(refusals, plans), min_size=1, max_size=8),
        last=st.lists(mishaps, max_size=3),
    )
    def attempts_when_their_time_has_come(
        self, name: str, plans: list[Plan], last: list[BaseException | None]
    ) -> None:
        for number, plan in enumerate(plans, 1):
            self._tick(max(0.0, self._next(name) - self.now))
            self.reconcile()
            self.attempt(name, plan, last if number == len(plans) else [])

    @rule(name=names, failure=failures, times=st.integers(1, 12))
    def target_is_in_trouble(self, name: str, failure: DeliveryError, times: int) -> None:
        self.attempts_when_their_time_has_come(name, [Plan(end=failure)] * times, [])

    @rule(name=names, torn=st.sampled_from([b'\n{"outco', b"\n", b"\n\0\0\0"]))
    def a_line_is_cut_off(self, name: str, torn: bytes) -> None:
        for stored in self.spool.stored():
            if name in stored.targets("pending"):
                with stored.marker(name).open("ab") as marker:
                    marker.write(torn)

    @rule(name=names)
    def attempt_at_what_another_works_at(self, name: str) -> None:
        claims = [stored.claim(name) for stored in self.spool.stored()]
        asked = self.peer.asked
        self._work(name, Plan(), [])
        assert self.peer.asked == asked
        for claim in claims:
            if claim is not None:
                claim.release()

    @rule(name=names)
    def dispatcher_dies_before_it_retires(self, name: str) -> None:
        for stored in self.spool.stored():
            claim = stored.claim(name)
            if claim is not None:
                stored.conclude(claim, DeliveryState.DELIVERED)
                return

    @rule(name=names)
    def messages_come_twice(self, name: str) -> None:
        queue = self.bus.queues[deliveries(name)]
        queue += [(self.now, message) for _, message in queue]

    @rule(queue=st.sampled_from([PARCELS, *map(deliveries, TARGETS)]))
    def messages_are_lost(self, queue: str) -> None:
        self.bus.delete(queue)

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0, 60.0, 600.0, 1800.0, 7200.0]))
    def time_passes(self, seconds: float) -> None:
        self._tick(seconds)

    @rule(name=names)
    def target_recovers(self, name: str) -> None:
        self.breaker.resume(name)

    @rule(name=names, state=st.sampled_from(["pending", "held"]), last=st.booleans())
    def person_retries(self, name: str, state: str, last: bool) -> None:
        delivery = self._pick(name, state, last)
        if delivery is not None:
            assert self.requests.respond(DeliveryRetryRequested(delivery=delivery)).done
            self.counted[delivery] = 0
            record = self._record(delivery)
            assert record is not None
            assert (record.attempts, record.next_try) == (0, 0.0)
            assert delivery in self._scheduled(name)
            assert self.bus.told.pop() == (RETRY, DeliveryRetryRequested(delivery=delivery))
            self.breaker.resume(name)

    @rule(name=names, state=st.sampled_from(["pending", "held"]), last=st.booleans())
    def person_discards(self, name: str, state: str, last: bool) -> None:
        delivery = self._pick(name, state, last)
        if delivery is not None:
            request = DeliveryDiscardRequested(delivery=delivery, reason="not needed")
            assert self.requests.respond(request).done

    @rule()
    def reconcile(self) -> None:
        Reconciler(self.spool, self.bus).run(grace=0.0, now=self.now)
        for stored in self.spool.stored():
            assert stored.routed or self.bus.depth(PARCELS)
        for target in TARGETS:
            due = {
                delivery
                for delivery, record in self._records(target, "pending")
                if record.next_try <= self.now
            }
            # Others in their place are worked at first, and then these are missed.
            stand_in = self.bus.depth(deliveries(target)) >= len(due)
            assert due <= self._scheduled(target) or stand_in

    # What must hold

    @invariant()
    def each_delivery_is_in_one_state_and_what_is_held_says_why(self) -> None:
        for stored in [*self.spool.stored(), *self.spool.all_retired()]:
            found = [name for state in STATES for name in stored.targets(state)]
            self.expected[stored.id] |= set(found)
            assert sorted(found) == sorted(self.expected[stored.id])
            assert not found or set(found) == set(TARGETS)
        for target in TARGETS:
            for _, record in self._records(target, "held"):
                assert "5 attempts failed" in record.reason
                assert "as planned" in record.reason or "fault" in record.reason

    @invariant()
    def every_parcel_is_there_with_all_its_instances(self) -> None:
        everywhere = [*self.spool.stored(), *self.spool.all_retired()]
        assert sorted(stored.id for stored in everywhere) == sorted(self.expected)
        for stored in everywhere:
            for instance in stored.parcel.instances:
                assert stored.file(instance).stat().st_size == instance.size

    @invariant()
    def nothing_waits_for_longer_than_the_policy_says(self) -> None:
        for pause in self.breaker.paused(self.now).values():
            assert pause.until - self.now <= LONGEST_PAUSE
        for target in TARGETS:
            for _, record in self._records(target, "pending"):
                assert record.next_try - self.now <= LONGEST_WAIT
                assert record.attempts <= len(POLICY.refused) + 1

    # How it is done

    def _work(self, target: str, plan: Plan, sends: list[BaseException | None]) -> None:
        """Handle the next message of a target as a dispatcher that has just started does."""
        message = self.bus.take(deliveries(target))
        if not isinstance(message, DeliveryRouted):
            return
        before, asked = self._record(message.delivery), self.peer.asked
        self.stopping.clear()
        self.peer.plan, self.peer.raised, self.bus.mishaps = plan, None, sends
        dispatch = Dispatch(self.spool, self.bus, POLICY, self.stopping, clock=lambda: self.now)
        with closing(Adapters(self.settings[target])) as adapters:
            try:
                report = partial(self._report, target)
                dispatch.handle(adapters, message, report, lambda: nullcontext(lambda: False))
            except Retry as again:
                self.bus.give_back(deliveries(target), message, again.delay)
            except Killed:
                self.bus.give_back(deliveries(target), message)
        self.bus.mishaps = []
        if before is not None and before.next_try > self.now:
            assert self.peer.asked == asked, "its time has not come"
        if before is not None and before.attempts > len(POLICY.refused):
            assert self.peer.asked == asked, "it has had all its attempts"
        self._judge(message.delivery, before, self.peer.asked - asked)

    def _next(self, target: str) -> float:
        """Return when the next delivery of a target can be tried; now if there is none."""
        pause = self.breaker.paused(self.now).get(target)
        times = [record.next_try for _, record in self._records(target, "pending")]
        return max(min(times, default=0.0), pause.until if pause else 0.0)

    def _report(self, target: str, failure: Failure | None, *, again: bool) -> float | None:
        seconds = self.breaker.report(target, failure, self.now, 0.5, again=again)
        assert seconds is None or 0 < seconds <= LONGEST_PAUSE
        assert failure is not None or target not in self.breaker.paused(self.now)
        return seconds

    def _judge(self, delivery: str, before: DeliveryRecord | None, tried: int) -> None:
        """Compare a delivery with what it was before a message, at which it was tried or not."""
        assert not self.peer.repeated
        after = self._record(delivery)
        if before is None or after is None:
            assert before == after, "a delivery comes from nowhere, or goes there"
            return
        assert after.tries == before.tries + tried
        if says_of_target(self.peer.raised):
            assert after.attempts == before.attempts
            asked = getattr(self.peer.raised, "retry_after", None)
            longest = LONGEST_WAIT if asked else POLICY.longest * (1 + POLICY.jitter)
            assert after.next_try - self.now <= longest + ROUNDING
        assert before.attempts <= after.attempts <= before.attempts + 1
        self.counted[delivery] += after.attempts - before.attempts
        assert self.counted[delivery] <= len(POLICY.refused) + 1
        if after.next_try != before.next_try:
            assert after.next_try >= self.now or not after.next_try

    def _find(self, parcel: str) -> StoredParcel | None:
        retired = StoredParcel(self.spool.retired / parcel)
        return self.spool.find(parcel) or (retired if retired.path.exists() else None)

    def _record(self, delivery: str) -> DeliveryRecord | None:
        parcel, _, target = delivery.partition("-")
        stored = self._find(parcel)
        states = [state for state in STATES if stored and target in stored.targets(state)]
        return stored.record(target, states[0]) if stored and states else None

    def _records(self, target: str, state: str) -> list[tuple[str, DeliveryRecord]]:
        return [
            (delivery_id(stored.id, target), stored.record(target, state))
            for stored in self.spool.stored()
            if target in stored.targets(state)
        ]

    def _pick(self, target: str, state: str, last: bool) -> str | None:
        found = self._records(target, state)
        return found[-1 if last else 0][0] if found else None

    def _scheduled(self, target: str) -> set[str]:
        messages = self.bus.due(deliveries(target))
        return {each.delivery for each in messages if isinstance(each, DeliveryRouted)}

    def _everything_ends(self) -> None:
        """Once targets take what they get, everything reaches its end, whatever was lost."""
        for queue in list(self.bus.queues):
            self.bus.delete(queue)
        until = self.now + LONGEST_WAIT + LONGEST_PAUSE
        while self.now <= until and any(self._unfinished(stored) for stored in self.spool.stored()):
            self.reconcile()
            while self.bus.depth(PARCELS):
                self.route([])
            for target in TARGETS:
                while self.bus.depth(deliveries(target)) and target not in self.breaker.paused(
                    self.now
                ):
                    self._work(target, Plan(), [])
            self._tick(30.0)
        self.reconcile()
        assert not [stored.id for stored in self.spool.stored() if self._unfinished(stored)]
        self.each_delivery_is_in_one_state_and_what_is_held_says_why()
        for stored in self.spool.stored():
            assert stored.targets("held"), "a parcel of which all is done is retired"

    def _unfinished(self, stored: StoredParcel) -> bool:
        return not stored.routed or bool(stored.targets("pending"))


Deliveries.TestCase.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
TestDeliveries = Deliveries.TestCase
