"""Targets that are well again: what waits for them is not kept waiting.

A delivery that failed because of its target waits up to ten minutes for its next try, and the
target is left alone meanwhile. When a check finds the target well, both are over at once.
"""

import queue
import threading
import time
from collections.abc import Callable, Collection

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import deliveries
from crossdock.errors import BusError, SpoolError
from crossdock.messages import Message, TargetChanged
from crossdock.spool import TARGET_WELL, Spool, StoredParcel


log = structlog.get_logger(__name__)


class Recovery:
    """Hastens deliveries, in a thread of its own: a spool may hold many.

    ``resume`` ends a target's pause.
    """

    def __init__(
        self,
        spool: Spool,
        bus: Bus,
        protocols: Collection[str],
        resume: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._bus = bus
        self._protocols = protocols
        self._resume = resume
        self._clock = clock
        self._well: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recovery", daemon=True)

    def start(self) -> None:
        """Begin to act on what is heard."""
        self._thread.start()

    def heard(self, message: Message) -> None:
        """Take note of what a tester found out about a target."""
        if isinstance(message, TargetChanged) and message.green:
            self._well.put(message.target)

    def close(self) -> None:
        """Stop after the target that is looked at."""
        self._well.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (target := self._well.get()) is not None:
            self._resume(target)
            try:
                count = sum(self._hasten(stored, target) for stored in self._spool.stored())
            except (BusError, OSError) as error:
                # Each of them comes by itself when its time has come.
                log.warning("deliveries.not_hastened", target=target, reason=str(error))
            else:
                log.info("target.well", target=target, hastened=count)

    def _hasten(self, stored: StoredParcel, target: str) -> bool:
        """Have a delivery tried now if it waits because of its target; return whether it did."""
        try:
            claim = stored.claim(target)
        except SpoolError:  # damaged, and said so by whoever tries it
            return False
        if claim is None:
            return False
        try:
            record = claim.record
            waits = record.setbacks > 0 and record.next_try > self._clock()
            if not waits or record.routed.protocol not in self._protocols:
                return False
            message = stored.delivery_routed(record.routed)
            claim.note(retry=TARGET_WELL)
        except SpoolError:
            return False
        finally:
            claim.release()
        self._bus.send(deliveries(target), message)
        return True
