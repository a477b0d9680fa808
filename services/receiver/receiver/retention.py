"""How long delivered parcels are kept: for their time, as long as there is room for them.

Only retired parcels are deleted, of which every delivery is final. What waits or is held is never
deleted here, however full the disk is.
"""

import threading
import time
from collections import Counter as Counts
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from prometheus_client import Counter, Gauge

from crossdock.settings import Marks, Settings
from crossdock.spool import Spool
from crossdock.spool.room import Measure, Room, disk
from receiver.account import Account


log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.0
_WEIGHING_SECONDS = 0.2  # for each look: a large spool must not keep a core busy after a start

Reason = Literal["age", "size", "low_water"]

PARCELS = Gauge("crossdock_spool_parcels", "Closed parcels in the spool.", ["state"])
BYTES = Gauge("crossdock_spool_bytes", "Bytes of closed parcels in the spool.", ["state"])
VOLUME = Gauge("crossdock_spool_volume_bytes", "Size of the file system that holds the spool.")
MARK = Gauge("crossdock_spool_mark_bytes", "Free bytes below which a mark is passed.", ["mark"])
DELETED = Counter(
    "crossdock_spool_deleted_parcels", "Retired parcels that were deleted, and why.", ["reason"]
)
DELETED_BYTES = Counter(
    "crossdock_spool_deleted_bytes", "Bytes of retired parcels that were deleted.", ["reason"]
)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What may be kept: each parcel for ``seconds``, and all together ``bytes``."""

    seconds: float
    bytes: float

    def reason(
        self, since: float, now: float, kept_bytes: int, missing_bytes: int
    ) -> Reason | None:
        """Return why the oldest retired parcel is to be deleted, None if it may stay.

        It is retired since ``since``; ``kept_bytes`` are those of all retired parcels, and
        ``missing_bytes`` is what is to become free for the low-water mark.
        """
        if since <= now - self.seconds:
            return "age"
        if kept_bytes > self.bytes:
            return "size"
        return "low_water" if missing_bytes > 0 else None


class Retention:
    """Deletes retired parcels, oldest first, and tells how full the spool is.

    It only tells while ``is_ours`` says that another router deletes.
    """

    def __init__(
        self,
        spool: Spool,
        settings: Settings,
        measure: Measure = disk,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._measure = measure
        self._keeping = Keeping(settings.retention_seconds, settings.retention_bytes)
        self._room = Room(spool.root, settings.spool_reserve, measure, told=False)
        self._retired = Account(spool.retired)
        self._accounts = {
            "waiting": Account(spool.parcels),
            "held": Account(spool.held),
            "retired": self._retired,
        }
        self._short = False
        self._begun = False
        self._is_ours = is_ours
        self.stopping = threading.Event()

    def run(self, now: float | None = None) -> int:
        """Delete what is not to be kept any longer; return how many parcels that were.

        Raises:
            OSError: the spool cannot be read or written.
        """
        ours = self._is_ours()
        if ours and not self._begun:
            self._spool.finish_deletions()
            self._begun = True
        total, free = self._measure(self._spool.root)
        marks = self._settings.marks(total)
        for account in self._accounts.values():
            account.refresh(_WEIGHING_SECONDS)
        at = time.time() if now is None else now
        deleted = self._delete(at, marks.low_water - free) if ours else 0
        self._show(total, marks)
        return deleted

    def _delete(self, now: float, missing: int) -> int:
        counts: Counts[Reason] = Counts()
        while (oldest := self._retired.oldest()) is not None and not self.stopping.is_set():
            since, parcel = oldest
            reason = self._keeping.reason(since, now, self._retired.size, missing)
            if reason is None:
                break
            # What is free is measured once: some file systems tell only later what was freed.
            missing -= self._remove(parcel, reason)
            counts[reason] += 1
        for why, count in counts.items():
            log.info("retired.deleted", reason=why, parcels=count)
        self._say(missing)
        return counts.total()

    def _remove(self, parcel: str, reason: Reason) -> int:
        size, deleted = self._retired.weigh(parcel), self._spool.delete_retired(parcel)
        self._retired.forget(parcel)
        if not deleted:
            return 0
        DELETED.labels(reason).inc()
        DELETED_BYTES.labels(reason).inc(size)
        return size

    def _say(self, missing: int) -> None:
        """Say once that nothing is left to delete though room is short."""
        short = missing > 0 and not self.stopping.is_set()
        if short and not self._short:
            log.warning(
                "spool.low_water", missing_bytes=missing, advice="see what waits or is held"
            )
        self._short = short

    def _show(self, total: int, marks: Marks) -> None:
        self._room.problem()  # so that metrics of this process know, too
        VOLUME.set(total)
        MARK.labels("low_water").set(marks.low_water)
        MARK.labels("high_water").set(marks.high_water)
        for state, account in self._accounts.items():
            PARCELS.labels(state).set(len(account))
            BYTES.labels(state).set(account.size)


class RetentionThread:
    """Looks at once, and then every few seconds, beside whatever else its process does."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the parcel that may be in deletion."""
        self._retention.stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._retention.run()
            except OSError as error:
                log.error("retention.postponed", reason=f"{error.filename}: {error.strerror}")
            if self._retention.stopping.wait(INTERVAL_SECONDS):
                return
