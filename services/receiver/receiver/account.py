"""How many parcels a directory of the spool holds, how much, and which is oldest, at small cost."""

import heapq
import json
import os
import time
from collections import deque
from pathlib import Path


_SETTLED_SECONDS = 2.0  # a younger change may be followed by another of the same time
_LISTING_SHARE = 0.05  # of the time: a full spool that changes all the time is listed less often
_QUICK_SECONDS = 0.01


class Account:
    """Kept up to date by ``refresh``: names are listed only when something changed.

    Each parcel is weighed once, by its description. Until all are, ``size`` is what is known.
    """

    def __init__(self, directory: Path) -> None:
        self.size = 0
        self._directory = directory
        self._sizes: dict[str, int | None] = {}
        self._by_age: list[tuple[float, str]] = []
        self._unweighed: deque[str] = deque()
        self._changed = 0
        self._settled = False
        self._rested = 0.0

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def complete(self) -> bool:
        """Whether every parcel was weighed."""
        return not self._unweighed

    def refresh(self, seconds: float) -> None:
        """Take note of what came and went, and weigh what is new for ``seconds`` at most.

        Raises:
            OSError: the directory cannot be listed.
        """
        changed = self._directory.stat().st_mtime_ns
        begun = time.monotonic()
        if (changed != self._changed or not self._settled) and begun >= self._rested:
            self._changed = changed
            self._settled = time.time() - changed / 1e9 > _SETTLED_SECONDS
            self._list()
            took = time.monotonic() - begun
            self._rested = begun + (took / _LISTING_SHARE if took > _QUICK_SECONDS else 0.0)
        until = time.monotonic() + seconds
        while self._unweighed and time.monotonic() < until:
            self.weigh(self._unweighed.popleft())

    def oldest(self) -> tuple[float, str] | None:
        """Return since when the oldest parcel is here, a Unix time, and its identifier."""
        while self._by_age and self._by_age[0][1] not in self._sizes:
            heapq.heappop(self._by_age)
        return self._by_age[0] if self._by_age else None

    def weigh(self, parcel: str) -> int:
        """Return the bytes of a parcel's instances, 0 if it is not there (any more)."""
        if parcel not in self._sizes:
            return 0
        size = self._sizes[parcel]
        if size is None:
            size = self._sizes[parcel] = _weight(self._directory / parcel)
            self.size += size
        return size

    def forget(self, parcel: str) -> None:
        """Take note that a parcel is gone."""
        self.size -= self._sizes.pop(parcel, None) or 0

    def _list(self) -> None:
        listed = os.listdir(self._directory)  # noqa: PTH208 — names do, and there may be 100 000
        names = {name for name in listed if not name.startswith(".")}
        for gone in self._sizes.keys() - names:
            self.forget(gone)
        for new in sorted(names - self._sizes.keys()):
            try:
                since = (self._directory / new).stat().st_mtime
            except FileNotFoundError:
                continue
            self._sizes[new] = None
            self._unweighed.append(new)
            heapq.heappush(self._by_age, (since, new))


def _weight(path: Path) -> int:
    """Return the bytes of a parcel's instances by its description, or by its files without one."""
    try:
        description = json.loads((path / "parcel.json").read_bytes())
        return sum(int(instance["size"]) for instance in description["instances"])
    except (OSError, ValueError, KeyError, TypeError):
        return sum(_size(file) for file in path.glob("*.dcm"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
