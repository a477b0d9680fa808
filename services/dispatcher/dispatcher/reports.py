"""Results of storage commitment that came in, wherever: their deliveries go on at once.

A result is a file in the spool. Looking for files once a second costs nothing, and needs neither
a message that may be lost nor a receiver that has a broker.
"""

import threading
from collections.abc import Collection

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import deliveries
from crossdock.errors import BusError, SpoolError
from crossdock.spool import COMMITMENT_REPORTED, Asked, Spool, StoredParcel


log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 1.0
_SWEEP_EVERY = 600  # looks; transactions whose delivery a person discarded


class Reports:
    """Looks for results, in a thread of its own, and hastens the deliveries of some protocols."""

    def __init__(self, spool: Spool, bus: Bus, protocols: Collection[str]) -> None:
        self._spool = spool
        self._bus = bus
        self._protocols = protocols
        self._looks = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the result that is looked at."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Hasten the deliveries that have a result, and forget what nobody waits for.

        Raises:
            BusError: the broker cannot be told.
            OSError: the spool cannot be read.
        """
        commitments = self._spool.commitments
        sweep, self._looks = not self._looks % _SWEEP_EVERY, self._looks + 1
        for transaction in commitments.asked() if sweep else commitments.reported():
            asked = commitments.delivery(transaction)
            stored = self._spool.find(asked.parcel) if asked else None
            if asked is None or stored is None or asked.target not in stored.targets("pending"):
                commitments.forget((transaction,))
            elif commitments.has_report(transaction):
                self._hasten(stored, asked)

    def _hasten(self, stored: StoredParcel, asked: Asked) -> None:
        """Have a delivery tried now, unless it is due or in work anyway."""
        try:
            claim = stored.claim(asked.target)
        except SpoolError:  # damaged, and said so by whoever tries it
            return
        if claim is None:
            return
        try:
            routed = claim.record.routed
            if routed.protocol not in self._protocols or not claim.record.next_try:
                return
            claim.note(retry=COMMITMENT_REPORTED)
            message = stored.delivery_routed(routed)
        except SpoolError:
            return
        finally:
            claim.release()
        self._bus.send(deliveries(asked.target), message)

    def _run(self) -> None:
        while not self._stopping.wait(_INTERVAL_SECONDS):
            try:
                self.look()
            except (BusError, OSError) as error:
                log.warning("reports.postponed", reason=str(error))
