"""Which queues are consumed: one per target that is configured, enabled and not left alone.

One thread follows the configuration and the failures of targets; each target's deliveries run in
threads of their own, so that a target that is slow or dead delays no other.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
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
from dispatcher.breaker import Breaker, Pause
from dispatcher.metrics import PAUSED, PAUSED_UNTIL
from dispatcher.retry import Failure, RetryPolicy


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


class Consumers:
    """Consumes the queues of the targets of some protocols."""

    def __init__(
        self, bus: Bus, handle: Handle, protocols: Collection[str], policy: RetryPolicy
    ) -> None:
        self._bus = bus
        self._handle = handle
        self._protocols = frozenset(protocols)
        self._breaker = Breaker(policy)
        self._targets: dict[str, Target] = {}
        self._consumed: dict[str, _Consumed] = {}
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
            if target.enabled and target.stores and target.type in self._protocols
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
            each.subscription.close(max(0.0, deadline - time.monotonic()))
            each.adapters.close(max(0.0, deadline - time.monotonic()))

    def report(self, name: str, failure: Failure | None) -> None:
        """Leave a target alone for a while that failed, and count it well when it did not."""
        with self._lock:
            seconds = self._breaker.report(name, failure, time.monotonic())
        if failure is not None and seconds is not None:
            log.warning(
                "target.paused",
                target=name,
                kind=failure.kind.value,
                seconds=round(seconds, 1),
                advice=failure.error_class.advice,
            )
            self._wake.set()

    def resume(self, name: str) -> None:
        """Leave a target alone no longer."""
        with self._lock:
            failed = self._breaker.resume(name)
        if failed:
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
        self._show(targets, pauses, now)
        for name, target in targets.items():
            if name not in self._consumed and name not in pauses:
                self._consumed[name] = self._consume(target)
        return min((pause.until - now for pause in pauses.values()), default=None)

    def _show(self, targets: Collection[str], pauses: Mapping[str, Pause], now: float) -> None:
        """Set the metrics of each target, and drop those of targets that are gone."""
        for name in self._shown.difference(targets):
            PAUSED.remove(name)
            PAUSED_UNTIL.remove(name)
        self._shown = set(targets)
        for name in targets:
            PAUSED.labels(name).set(name in pauses)
            until = time.time() + pauses[name].until - now if name in pauses else 0.0
            PAUSED_UNTIL.labels(name).set(until)

    def _paused(self, now: float) -> dict[str, Pause]:
        with self._lock:
            return self._breaker.paused(now)

    def _consume(self, target: Target) -> _Consumed:
        log.info("target.consumed", target=target.name, concurrency=target.concurrency)
        adapters, report = Adapters(target), partial(self.report, target.name)
        subscription = self._bus.consume(
            deliveries(target.name),
            lambda message: self._handle(adapters, message, report),
            prefetch=target.concurrency,
        )
        return _Consumed(adapters, subscription)
