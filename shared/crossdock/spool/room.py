"""How much room the spool has, and when it is too little to take more in."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client import Gauge

from crossdock.settings import RELIEF, Reserve


log = structlog.get_logger(__name__)

FREE = Gauge("crossdock_spool_free_bytes", "Bytes that can still be written to the spool.")
SHORT = Gauge("crossdock_spool_short", "Whether the spool has less room than its reserve.")

_STALE_SECONDS = 0.2  # at 1 GB/s less than the reserve of most disks

Measure = Callable[[Path], tuple[int, int]]
"""Returns the size of a directory's file system and what is free of it, in bytes."""


def disk(path: Path) -> tuple[int, int]:
    """Return size and free bytes of the file system that holds a directory.

    Raises:
        OSError: it is not there.
    """
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


class Room:
    """Watches the spool's file system. Any thread may ask; the answer is at most 0.2 s old.

    With ``told=False`` the log is left to another process that watches it, too.
    """

    def __init__(
        self, directory: Path, reserve: Reserve, measure: Measure = disk, *, told: bool = True
    ) -> None:
        self._directory = directory
        self._reserve = reserve
        self._measure = measure
        self._told = told
        self._lock = threading.Lock()
        self._measured = -_STALE_SECONDS
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Return why nothing more should be taken in, None while there is room.

        It begins when less than the reserve is free, and ends when a tenth more than that is.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._measured >= _STALE_SECONDS:
                self._measured = now
                self._look()
            return self._problem

    def _look(self) -> None:
        before, self._problem = self._problem, self._found()
        SHORT.set(self._problem is not None)
        if not self._told:
            return
        if before is None and self._problem is not None:
            log.error("spool.short", reason=self._problem)
        elif before is not None and self._problem is None:
            log.info("spool.relieved")

    def _found(self) -> str | None:
        try:
            total, free = self._measure(self._directory)
        except OSError as error:
            FREE.set(0)
            return f"the spool cannot be measured: {error.strerror}"
        FREE.set(free)
        reserve = self._reserve.of(total)
        wanted = reserve if self._problem is None else int(reserve * RELIEF)
        if free >= wanted:
            return None
        return f"the spool has {free} bytes left, less than the {wanted} to keep free"
