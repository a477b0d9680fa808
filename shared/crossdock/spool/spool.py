"""The spool as a whole: its directories, and the moves of parcels between them."""

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from crossdock.errors import SpoolError
from crossdock.model import Parcel, new_id
from crossdock.spool.durable import locked, move, sync_directory, write_file
from crossdock.spool.incoming import Arrival
from crossdock.spool.open_parcel import PARCEL, OpenParcel, Origin
from crossdock.spool.stored_parcel import StoredParcel


_LEFTOVER_SECONDS = 3600.0  # longer than any association may be silent


class Spool:
    """A directory, on a volume shared by receiver, router and dispatchers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        # As text, and numbered: a Path or a random name for each instance would be costly.
        self._arrivals = f"{self.incoming}{os.sep}{new_id()}-"
        self._numbers = itertools.count(1)
        self.opened = root / "open"
        self.parcels = root / "parcels"
        self.held = root / "held"
        self.retired = root / "retired"

    def prepare(self) -> None:
        """Make the directories.

        Raises:
            SpoolError: they cannot be made or written to.
        """
        for directory in (self.incoming, self.opened, self.parcels, self.held, self.retired):
            try:
                directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            except OSError as error:
                raise SpoolError(f"{directory}: {error.strerror}") from error
        sync_directory(self.root)

    def arrival(self, head: bytes = b"") -> Arrival:
        """Begin to take in one instance, whose file begins with ``head``.

        Raises:
            OSError: the disk is full or read-only.
        """
        return Arrival(f"{self._arrivals}{next(self._numbers)}.part", head)

    def open_parcel(self, origin: Origin) -> OpenParcel:
        """Open a parcel.

        Raises:
            OSError: the disk is full or read-only.
        """
        return OpenParcel.create(self.incoming, self.opened, origin)

    def find(self, parcel: str) -> StoredParcel | None:
        """Return a parcel that waits for the router or for deliveries, by its identifier."""
        return self._stored(self.parcels, parcel)

    def find_held(self, parcel: str) -> StoredParcel | None:
        """Return a parcel that nobody wanted, by its identifier."""
        return self._stored(self.held, parcel)

    def _stored(self, directory: Path, parcel: str) -> StoredParcel | None:
        if not parcel.isalnum() or not (directory / parcel / PARCEL).exists():
            return None
        return StoredParcel(directory / parcel)

    def stored(self) -> Iterator[StoredParcel]:
        """Yield the parcels that wait for the router or for deliveries, oldest first."""
        yield from self._all(self.parcels)

    def all_held(self) -> Iterator[StoredParcel]:
        """Yield the parcels that nobody wanted, oldest first."""
        yield from self._all(self.held)

    def all_retired(self) -> Iterator[StoredParcel]:
        """Yield the parcels that are kept only for their time, oldest first."""
        yield from self._all(self.retired)

    def _all(self, directory: Path) -> Iterator[StoredParcel]:
        for path in sorted(directory.iterdir()):
            yield StoredParcel(path)

    def hold(self, stored: StoredParcel, reason: str) -> StoredParcel:
        """Move a parcel that nobody wanted to ``held/``, with the reason."""
        stored.annotate(reason)
        move(stored.path, self.held / stored.id)
        return StoredParcel(self.held / stored.id)

    def hold_part(self, stored: StoredParcel, numbers: set[int], reason: str) -> StoredParcel:
        """Make a held parcel of those instances of another that nobody wanted.

        Its files are hard links. Doing it twice is the same as once, also at the same time.
        """
        part = StoredParcel(self.held / f"{stored.id}u")
        with locked(stored.path):
            if not part.path.exists():
                self._make_part(stored, part, numbers, reason)
        return part

    def _make_part(
        self, stored: StoredParcel, part: StoredParcel, numbers: set[int], reason: str
    ) -> None:
        made = StoredParcel(self.incoming / f"{part.id}.new")
        shutil.rmtree(made.path, ignore_errors=True)
        made.path.mkdir(mode=0o750)
        whole = stored.parcel
        instances = tuple(each for each in whole.instances if each.number in numbers)
        for instance in instances:
            os.link(stored.file(instance), made.file(instance))
        parcel = whole.model_copy(update={"id": part.id, "instances": instances})
        write_file(made.path / PARCEL, parcel.model_dump_json().encode())
        made.annotate(reason)
        move(made.path, part.path)

    def unhold(self, held: StoredParcel) -> StoredParcel:
        """Give a held parcel back to the router."""
        move(held.path, self.parcels / held.id)
        return StoredParcel(self.parcels / held.id)

    def discard(self, held: StoredParcel, reason: str) -> None:
        """Retire a held parcel that a person has given up."""
        held.annotate(reason)
        move(held.path, self.retired / held.id)

    def recover(self) -> Iterator[Parcel]:
        """Close the open parcels whose receiver died, and yield them."""
        for path in sorted(self.opened.iterdir()):
            adopted = OpenParcel.adopt(path)
            if adopted is None:
                continue
            try:
                instances = adopted.found_instances()
                if instances:
                    yield adopted.close(self.parcels, instances)
                else:
                    adopted.remove()
            finally:
                adopted.abandon()

    def sweep_incoming(self, now: float | None = None) -> int:
        """Delete what a receiver that died had not finished; return how many."""
        limit = (time.time() if now is None else now) - _LEFTOVER_SECONDS
        swept = 0
        for path in self.incoming.iterdir():
            try:
                if path.stat().st_mtime > limit:
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            except FileNotFoundError:
                continue
            swept += 1
        return swept

    def sweep_retired(self, keep_seconds: float, now: float | None = None) -> int:
        """Delete the retired parcels that were kept for long enough; return how many."""
        limit = (time.time() if now is None else now) - keep_seconds
        swept = 0
        for stored in self.all_retired():
            if stored.path.stat().st_mtime <= limit:
                stored.remove()
                swept += 1
        return swept
