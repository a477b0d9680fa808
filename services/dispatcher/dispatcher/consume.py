"""Which queues are consumed: those of each target that is configured, in use and not left alone.

A target that a person disabled or paused is not in use: its deliveries wait in its queues.

A target has a queue for normal deliveries, and one for each other priority that rules use. One
thread follows the configuration, the time windows and the failures of targets; each target's
deliveries run in threads of their own, so that a target that is slow or dead delays no other.
"""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog

from crossdock.bus import Bus, Retry, Subscription
from crossdock.bus.topology import deliveries
from crossdock.config.snapshot import Gateway
from crossdock.config.targets import Target
from crossdock.errors import BusError
from crossdock.messages import DeliveryRetryRequested, Message, TargetChanged
from crossdock.model import Priority, split_delivery_id
from dispatcher.adapters import Adapters
from dispatcher.breaker import Breaker, Pause
from dispatcher.delivery import Enough, Report
from dispatcher.dispatch import Turn
from dispatcher.metrics import Standings
from dispatcher.retry import Failure, RetryPolicy
from dispatcher.turns import Gate
from dispatcher.windows import Windows


log = structlog.get_logger(__name__)

Handle = Callable[[Adapters, Message, Report, Turn], None]

_AGAIN_SECONDS = 1.0  # after the broker failed us
_CLOSED_SECONDS = 0.05  # between two looks whether a target that failed is consumed no longer


@dataclass(slots=True)
class _Consumed:
    """A target whose queues are consumed: its deliveries run by the settings of its adapters.

    ``over`` is set when those in work are to end after the instance that is under way.
    """

    adapters: Adapters
    priorities: frozenset[Priority]
    gate: Gate
    over: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    subscriptions: list[Subscription] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """The target, with the settings that hold for what is in work."""
        return self.adapters.target

    @contextmanager
    def turn(self, priority: Priority) -> Iterator[Enough]:
        """Wait for the turn of a delivery."""
        with self.gate.turn(priority) as place:
            yield lambda: self.over.is_set() or self.gate.gives_way(place)

    def close(self) -> None:
        """Take no further delivery, and keep no connection; those in work go on to their ends."""
        for subscription in self.subscriptions:
            subscription.close(timeout=0.0)
        self.closed.set()
        self.gate.close()
        self.adapters.close()

    def join(self, deadline: float) -> None:
        """Wait until a monotonic time for what is in work."""
        for subscription in self.subscriptions:
            subscription.close(max(0.0, deadline - time.monotonic()))
        self.adapters.close(max(0.0, deadline - time.monotonic()))


class Consumers:
    """Consumes the queues of the targets of some protocols.

    ``clock`` tells the Unix time that time windows go by.
    """

    def __init__(
        self,
        bus: Bus,
        handle: Handle,
        protocols: Collection[str],
        policy: RetryPolicy,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._handle = handle
        self._protocols = frozenset(protocols)
        self._breaker = Breaker(policy)
        self._windows = Windows(clock)
        self._targets: dict[str, Target] = {}
        self._priorities: dict[str, frozenset[Priority]] = {}
        self._consumed: dict[str, _Consumed] = {}
        self._standings = Standings()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumers", daemon=True)

    def start(self) -> None:
        """Begin to follow; nothing is consumed before the first configuration."""
        self._thread.start()

    def configure(self, gateway: Gateway) -> None:
        """Consume what ``gateway`` wants from now on.

        Deliveries in work end by the settings that they began with. A target whose settings have
        changed is not left alone any longer: somebody may have mended them.
        """
        before = self._targets
        self._priorities = gateway.priorities()
        self._targets = {
            target.name: target
            for target in gateway.targets
            if not target.standstill and target.stores and target.type in self._protocols
        }
        with self._lock:
            for name in self._breaker.failed():
                if before.get(name) != self._targets.get(name):
                    self._breaker.resume(name)
        self._wake.set()

    def close(self, timeout: float) -> None:
        """Take no further delivery, and wait up to ``timeout`` seconds for those in work."""
        deadline = time.monotonic() + timeout
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout)
        for each in self._consumed.values():
            each.close()
        for each in self._consumed.values():
            each.join(deadline)

    def report(self, name: str, failure: Failure | None, *, again: bool) -> float | None:
        """Take note of how an attempt at a target ended; see ``Breaker.report``."""
        chance = random.random()  # noqa: S311 — it spreads retries, it protects nothing
        with self._lock:
            seconds = self._breaker.report(name, failure, time.monotonic(), chance, again=again)
        if failure is not None and seconds is not None:
            log.warning(
                "target.paused",
                target=name,
                kind=failure.kind.value,
                seconds=round(seconds, 1),
                advice=failure.error_class.advice,
            )
            self._wake.set()
        return seconds

    def heard(self, message: Message) -> None:
        """Leave a target alone no longer that a check finds well, or that a person wants tried."""
        match message:
            case TargetChanged(green=True):
                self._resume(message.target)
            case DeliveryRetryRequested():
                self._resume(split_delivery_id(message.delivery)[1])

    def _resume(self, name: str) -> None:
        with self._lock:
            failed = self._breaker.resume(name)
        if failed:
            log.info("target.resumed", target=name)
            self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                wait = self._settle()
            except BusError as error:
                log.warning("consumers.not_settled", reason=str(error))
                wait = _AGAIN_SECONDS
            self._wake.wait(wait)

    def _settle(self) -> float | None:
        """Consume what should be consumed and nothing else; return when to look again."""
        targets, now = self._targets, time.monotonic()
        pauses, (closed, wait) = self._paused(now), self._windows.look(targets)
        wanted = {name: self._wanted(each, closed) for name, each in targets.items()}
        for name, consumed in list(self._consumed.items()):
            same = (targets.get(name), wanted.get(name)) == (consumed.target, consumed.priorities)
            if name in closed and not same:
                consumed.over.set()
            if name in pauses or not same:
                del self._consumed[name]
                consumed.close()
                log.info("target.unconsumed", target=name, window_closed=name in closed)
        self._show(targets, pauses, closed)
        for name, target in targets.items():
            if name not in self._consumed and name not in pauses and wanted[name]:
                self._consumed[name] = self._consume(target, wanted[name])
        waits = [wait] if wait is not None else []
        return min([each.until - now for each in pauses.values()] + waits, default=None)

    def _wanted(self, target: Target, closed: Collection[str]) -> frozenset[Priority]:
        """Return the priorities whose queues are to be consumed, unless the target is paused."""
        used = self._priorities.get(target.name, frozenset({Priority.NORMAL}))
        if target.name not in closed:
            return used
        return used & {Priority.URGENT} if target.urgent_any_time else frozenset()

    def _show(
        self,
        targets: Collection[str],
        pauses: Mapping[str, Pause],
        closed: Collection[str],
    ) -> None:
        offset = time.time() - time.monotonic()
        ends = {name: round(pause.until + offset, 1) for name, pause in pauses.items()}
        self._standings.show({name: (ends.get(name, 0.0), name in closed) for name in targets})

    def _paused(self, now: float) -> dict[str, Pause]:
        with self._lock:
            return self._breaker.paused(now)

    def _is_paused(self, name: str) -> bool:
        with self._lock:
            return self._breaker.is_paused(name, time.monotonic())

    def _consume(self, target: Target, priorities: frozenset[Priority]) -> _Consumed:
        log.info("target.consumed", target=target.name, concurrency=target.concurrency)
        consumed = _Consumed(Adapters(target), priorities, Gate(target.concurrency))
        # Of several queues one more message each is at hand, or none would wait when a turn ends.
        prefetch = target.concurrency + (len(priorities) > 1)
        try:
            for priority in filter(priorities.__contains__, Priority):  # the most urgent first
                queue, handler = (
                    deliveries(target.name, priority),
                    self._handler(consumed, priority),
                )
                subscription = self._bus.consume(queue, handler, prefetch=prefetch)
                consumed.subscriptions.append(subscription)
        except BusError:
            consumed.close()
            raise
        return consumed

    def _handler(self, consumed: _Consumed, priority: Priority) -> Callable[[Message], None]:
        name = consumed.target.name
        report, turn = partial(self.report, name), partial(self._turn, consumed, priority)

        def handle(message: Message) -> None:
            try:
                self._handle(consumed.adapters, message, report, turn)
            except Retry:
                # What goes back to the queue of a target that is left alone must not come at once.
                while self._is_paused(name) and not consumed.closed.wait(_CLOSED_SECONDS):
                    pass
                raise

        return handle

    @contextmanager
    def _turn(self, consumed: _Consumed, priority: Priority) -> Iterator[Enough]:
        """Wait for the turn of a delivery, whose target may have failed meanwhile."""
        with consumed.turn(priority) as enough:
            if self._is_paused(consumed.target.name):
                raise Retry
            yield enough
