"""The threads that call handlers, the same for every broker.

A worker does no network traffic by itself: it takes a letter from an inbox, lets it be judged and
has the inbox's broker carry out the verdict.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog
from prometheus_client import Counter

from crossdock.bus.base import Subscription
from crossdock.bus.letter import Letter
from crossdock.bus.topology import acknowledged
from crossdock.bus.verdict import Again, Dead, Done, Judge, kind
from crossdock.errors import BusError
from crossdock.faults import reached
from crossdock.telemetry import raised_at


PAUSE_AFTER_ERROR = 1.0  # seconds

log = structlog.get_logger(__name__)

DEAD = Counter("crossdock_dead_messages", "Messages that nobody could deal with.")


class Taken(Protocol):
    """A letter in work; the broker keeps it for us until one of these is called."""

    letter: Letter

    def done(self) -> None:
        """Forget it."""

    def again(self, letter: Letter, delay: float) -> None:
        """Put ``letter`` in its place, to be handed out after ``delay`` seconds."""

    def bury(self, letter: Letter) -> None:
        """Put ``letter`` among the dead instead."""

    def give_back(self) -> None:
        """Let somebody have it at once, as if it had never been taken."""


class Inbox(Protocol):
    """Where workers take letters from. All raise ``BusError`` when the broker fails them."""

    def take(self) -> Taken | None:
        """Wait for a letter; None says that there may be none, ask again."""

    def stop(self) -> None:
        """Hand out nothing further and wake whoever waits."""

    def close(self) -> None:
        """Let go of everything; called once, when the last worker has ended."""


class Workers(Subscription):
    """A number of threads that work on one inbox."""

    def __init__(
        self,
        name: str,
        inbox: Inbox,
        judge: Judge,
        threads: int,
        ended: Callable[["Workers"], None],
    ) -> None:
        self._name = name
        self._inbox = inbox
        self._judge = judge
        self._ended = ended
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._running = max(1, threads)
        self._threads = [
            threading.Thread(target=self._work, name=f"bus:{name}:{number}", daemon=True)
            for number in range(self._running)
        ]
        for thread in self._threads:
            thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Take no further letter and wait up to ``timeout`` seconds for running handlers.

        A handler that takes longer is left to finish and its letter stays its own meanwhile.
        """
        self._closing.set()
        self._inbox.stop()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        try:
            while not self._closing.is_set():
                self._one()
        finally:
            self._leave()

    def _one(self) -> None:
        """Take a letter and deal with it; an error of the broker's costs a pause, no more."""
        taken = None
        try:
            taken = self._inbox.take()
            if taken is not None and self._closing.is_set():
                taken.give_back()
            elif taken is not None:
                self._settle(taken)
        except BusError as error:
            # The broker hands the letter out again: because we give it back, or because we are
            # cut off and it knows.
            log.warning("bus.failed", queue=self._name, reason=str(error))
            self._closing.wait(PAUSE_AFTER_ERROR)
            self._return(taken)
        except Exception as error:  # noqa: BLE001 — the outermost loop: without it nobody consumes
            log.error("bus.failed", queue=self._name, error=kind(error), where=raised_at(error))
            self._closing.wait(PAUSE_AFTER_ERROR)
            self._return(taken)

    def _settle(self, taken: Taken) -> None:
        letter = taken.letter
        early = letter.not_before - time.time()
        verdict = Again(early, failed=False) if early > 0 else self._judge(letter)
        match verdict:
            case Done():
                taken.done()
                if (point := acknowledged(self._name)) is not None:
                    reached(point)
            case Again(delay, failed):
                taken.again(replace(letter, failures=letter.failures + failed), delay)
            case Dead(reason):
                taken.bury(replace(letter, reason=reason))
                DEAD.inc()

    def _return(self, taken: Taken | None) -> None:
        if taken is None:
            return
        try:
            taken.give_back()
        except BusError as error:
            log.warning("bus.failed", queue=self._name, reason=str(error))
        except Exception as error:  # noqa: BLE001 — as in the loop: the thread must live on
            log.error("bus.failed", queue=self._name, error=kind(error), where=raised_at(error))

    def _leave(self) -> None:
        """End this thread; the last one closes the inbox."""
        with self._lock:
            self._running -= 1
            last = not self._running
        if last:
            self._inbox.close()
            self._ended(self)
