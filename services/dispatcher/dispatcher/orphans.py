"""Deliveries whose target is not in the configuration any more: nobody consumes their queue.

They are held for a person, and so are visible, instead of waiting for ever.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator

import structlog

from crossdock.config.snapshot import Gateway
from crossdock.errors import BusError, SpoolError
from crossdock.spool import Spool, StoredParcel


log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 60.0  # a router may have routed by an older configuration meanwhile
_AGAIN_SECONDS = 5.0
_SHARE = 0.02  # of the time, at most, that is spent on looking through a large spool

HoldDelivery = Callable[[StoredParcel, str, str], None]


def orphans(
    spool: Spool, protocols: Collection[str], targets: Collection[str], revision: int
) -> Iterator[tuple[StoredParcel, str]]:
    """Yield the pending deliveries of a protocol whose target is not among ``targets``.

    What was routed by a revision later than ``revision`` is left out: we do not know its targets.
    """
    for stored in spool.stored():
        for target in stored.targets("pending"):
            if target not in targets and _is_ours(stored, target, protocols, revision):
                yield stored, target


def _is_ours(stored: StoredParcel, target: str, protocols: Collection[str], revision: int) -> bool:
    try:
        routed = stored.record(target).routed
    except (FileNotFoundError, SpoolError):  # final by now; damaged, and said so elsewhere
        return False
    return routed.protocol in protocols and routed.revision <= revision


class Orphanage:
    """Holds orphaned deliveries: at start, when the configuration changes, and by the clock."""

    def __init__(
        self,
        spool: Spool,
        protocols: Collection[str],
        hold: HoldDelivery,
    ) -> None:
        self._spool = spool
        self._protocols = protocols
        self._hold = hold
        self._known: tuple[frozenset[str], int] | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orphans", daemon=True)

    def start(self) -> None:
        """Begin to look; nothing is an orphan before the first configuration."""
        self._thread.start()

    def configure(self, gateway: Gateway, revision: int) -> None:
        """Look at once, by another configuration."""
        self._known = frozenset(target.name for target in gateway.targets), revision
        self._wake.set()

    def close(self) -> None:
        """Stop after the delivery that is looked at."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            began = time.monotonic()
            interval = _INTERVAL_SECONDS if self._hold_all() else _AGAIN_SECONDS
            self._wake.wait(max(interval, (time.monotonic() - began) / _SHARE))

    def _hold_all(self) -> bool:
        if self._known is None:
            return True
        targets, revision = self._known
        left = False
        try:
            for stored, target in orphans(self._spool, self._protocols, targets, revision):
                reason = (
                    f"target {target} is no longer configured:"
                    " add it again and retry, or move the delivery to another, or discard it"
                )
                self._hold(stored, target, reason)
                left |= stored.marker(target).exists()  # it was in work
                if self._stopping.is_set():
                    break
        except BusError as error:
            log.warning("orphans.postponed", reason=str(error))
            return False
        except OSError as error:
            log.error("orphans.postponed", reason=error.strerror)
            return False
        return not left
