"""Which queues are consumed: one per target that is configured, in use and not left alone.

A target that a person disabled or paused is not in use: its deliveries wait in its queue.

One thread follows the configuration and the failures of targets; each target's deliveries run in
threads of their own, so that a target that is slow or dead delays no other.
"""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import structlog

from crossdock.bus import Bus, Subscription
from crossdock.bus.topology import deliveries
from crossdock.config.snapshot import Gateway
from crossdock.config.targets import Target
from crossdock.errors import BusError
from crossdock.messages import Message
from dispatcher.adapters import Adapters
from dispatcher.metrics import PAUSED
from dispatcher.retry import Failure, RetryPolicy, target_delay


log = structlog.get_logger(__name__)

Handle = Callable[[Adapters, Message, Callable[[Failure | None], None]], None]

_AGAIN_SECONDS = 1.0  # after the broker failed us


@dataclass(slots=True)
class _Consumed:
    """A target whose queue is consumed: its deliveries run by the settings of its adapters."""

    adapters: Adapters
    subscription: Subscription

    def close(self) -> None:
        """Take no further delivery, and keep no connection; those in work go on to their ends."""
        self.subscription.close(timeout=0.0)
        self.adapters.close()


@dataclass(slots=True)
class _Pause:
    """How often in a row a target failed, and until when (monotonic) it is left alone."""

    setbacks: int = 0
    until: float = 0.0


class Consumers:
    """Consumes the queues of the targets of some protocols."""

    def __init__(
        self, bus: Bus, handle: Handle, protocols: Collection[str], policy: RetryPolicy
    ) -> None:
        self._bus = bus
        self._handle = handle
        self._protocols = frozenset(protocols)
        self._policy = policy
        self._targets: dict[str, Target] = {}
        self._consumed: dict[str, _Consumed] = {}
        self._pauses: dict[str, _Pause] = {}
        self._shown: set[str] = set()
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
        self._targets = {
            target.name: target
            for target in gateway.targets
            if not target.standstill and target.stores and target.type in self._protocols
        }
        with self._lock:
            for name in [*self._pauses]:
                if before.get(name) != self._targets.get(name):
                    del self._pauses[name]
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
            each.subscription.close(max(0.0, deadline - time.monotonic()))
            each.adapters.close(max(0.0, deadline - time.monotonic()))

    def report(self, name: str, failure: Failure | None) -> None:
        """Leave a target alone for a while that failed, and count it well when it did not.

        The pause is short, so that its other deliveries are not late when it is back.
        """
        with self._lock:
            if failure is None:
                self._pauses.pop(name, None)
                return
            pause = self._pauses.setdefault(name, _Pause())
            now = time.monotonic()
            if pause.until > now:
                return  # deliveries that failed together are one setback
            delay = min(target_delay(failure, pause.setbacks, self._policy), self._policy.pause)
            pause.setbacks += 1
            pause.until = now + delay
        log.warning("target.paused", target=name, kind=failure.kind.value, seconds=round(delay, 1))
        self._wake.set()

    def resume(self, name: str) -> None:
        """Leave a target alone no longer."""
        with self._lock:
            paused = self._pauses.pop(name, None)
        if paused is not None:
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
        pauses = self._paused(now)
        for name, consumed in list(self._consumed.items()):
            if targets.get(name) != consumed.adapters.target or name in pauses:
                del self._consumed[name]
                consumed.close()
                log.info("target.unconsumed", target=name)
        self._show(targets, pauses)
        for name, target in targets.items():
            if name not in self._consumed and name not in pauses:
                self._consumed[name] = self._consume(target)
        return min((until - now for until in pauses.values()), default=None)

    def _show(self, targets: Collection[str], pauses: Collection[str]) -> None:
        """Set the metric of each target, and drop those of targets that are gone."""
        for name in self._shown.difference(targets):
            PAUSED.remove(name)
        self._shown = set(targets)
        for name in targets:
            PAUSED.labels(name).set(name in pauses)

    def _paused(self, now: float) -> dict[str, float]:
        with self._lock:
            return {name: each.until for name, each in self._pauses.items() if each.until > now}

    def _consume(self, target: Target) -> _Consumed:
        log.info("target.consumed", target=target.name, concurrency=target.concurrency)
        adapters, report = Adapters(target), partial(self.report, target.name)
        subscription = self._bus.consume(
            deliveries(target.name),
            lambda message: self._handle(adapters, message, report),
            prefetch=target.concurrency,
        )
        return _Consumed(adapters, subscription)
