"""The order of a series: which deliveries to a target are older than another one of theirs."""

import os
import threading
from collections import defaultdict

from crossdock.errors import SpoolError
from crossdock.spool import Spool, StoredParcel


_LEAST_SECONDS, _MOST_SECONDS = 1.0, 60.0


class SeriesOrder:
    """Knows the series of all parcels that one target is to get; from any thread.

    Each parcel's description is read once, and the names in the spool are listed only for a parcel
    that is not known yet: what was there before it is in the same list.
    """

    def __init__(self, spool: Spool, target: str) -> None:
        self._spool = spool
        self._target = target
        self._known: dict[str, str] = {}
        self._of_series: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def older(self, stored: StoredParcel) -> StoredParcel | None:
        """Return an older parcel of the same series that the target has not got yet, None if none.

        What is held does not count: it waits for a person.

        Raises:
            SpoolError: the parcel's description is damaged.
        """
        series = stored.parcel.series_instance_uid
        with self._lock:
            if stored.id not in self._known:
                self._learn()
            before = [each for each in self._of_series.get(series, ()) if each < stored.id]
        for each in sorted(before):
            other = StoredParcel(self._spool.parcels / each)
            if self._waits(other):
                return other
        return None

    def patience(self, other: StoredParcel, now: float) -> float:
        """Return in how many seconds it is worth looking whether an older parcel has gone."""
        try:
            next_try = other.record(self._target).next_try
        except (FileNotFoundError, SpoolError):
            return _LEAST_SECONDS
        return min(_MOST_SECONDS, max(_LEAST_SECONDS, next_try - now))

    def _learn(self) -> None:
        with os.scandir(self._spool.parcels) as entries:
            names = {entry.name for entry in entries}
        for gone in self._known.keys() - names:
            del self._known[gone]
        for new in names - self._known.keys():
            self._known[new] = self._series(StoredParcel(self._spool.parcels / new))
        of_series = defaultdict(list)
        for name, series in self._known.items():
            if series:
                of_series[series].append(name)
        self._of_series = dict(of_series)

    def _series(self, stored: StoredParcel) -> str:
        """Return the series of a parcel, empty if it is not for the target or damaged."""
        try:
            return stored.parcel.series_instance_uid if self._waits(stored) else ""
        except SpoolError:
            return ""

    def _waits(self, stored: StoredParcel) -> bool:
        """Whether a parcel is, or may be once it is routed, on its way to the target."""
        return stored.marker(self._target).exists() or (not stored.routed and stored.path.exists())
