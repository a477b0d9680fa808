"""The spool as a whole: its directories, and the moves of parcels between them."""

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from crossdock.errors import SpoolError
from crossdock.model import PART, Parcel, new_id
from crossdock.spool.commitments import Commitments
from crossdock.spool.durable import locked, move, sync_directory, write_file
from crossdock.spool.incoming import Arrival
from crossdock.spool.marker import Routed
from crossdock.spool.open_parcel import PARCEL, OpenParcel, Origin
from crossdock.spool.owed import OwedReports
from crossdock.spool.stored_parcel import HELD, PENDING, StoredParcel


_LEFTOVER_SECONDS = 3600.0  # longer than any association may be silent
_TRIES = 5


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
        self.commitments = Commitments(root)
        self.owed = OwedReports(root)
        self.delivered = root / "delivered"

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

    def locate(self, parcel: str) -> StoredParcel | None:
        """Return a closed parcel wherever it is, by its identifier: waiting, held or retired."""
        places = (self.parcels, self.held, self.retired)
        return next(filter(None, (self._stored(place, parcel) for place in places)), None)

    def add(self, parcel: str, routed: Routed) -> StoredParcel | None:
        """Add a delivery to a parcel wherever it is, and so make it live again; None if it is gone.

        Raises:
            SpoolError: not now, and why.
            OSError: the disk is full or read-only.
        """
        for _ in range(_TRIES):
            stored = self.locate(parcel)
            if stored is None:
                return None
            with contextlib.suppress(FileNotFoundError):  # retired, or made live, meanwhile
                return stored.add(routed, self.parcels)
        raise SpoolError(f"parcel {parcel} keeps being moved; try again")

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
            if not path.name.startswith("."):
                yield StoredParcel(path)

    def hold(self, stored: StoredParcel, reason: str) -> StoredParcel:
        """Move a parcel that nobody wanted to ``held/``, with the reason.

        One that another router has routed meanwhile, by a newer configuration, stays where it is.
        """
        with locked(stored.path / PARCEL):
            if stored.routed:
                return stored
            stored.annotate(reason)
            move(stored.path, self.held / stored.id)
        return StoredParcel(self.held / stored.id)

    def hold_part(self, stored: StoredParcel, numbers: set[int], reason: str) -> StoredParcel:
        """Make a held parcel of those instances of another that nobody wanted.

        Its files are hard links. Doing it twice is the same as once, also at the same time.
        """
        part = StoredParcel(self.held / (stored.id + PART))
        with locked(stored.path / PARCEL):
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

    def delete_retired(self, parcel: str) -> bool:
        """Delete a retired parcel; return whether that was done.

        One with a delivery that is not final is left alone. It is renamed first, so that it is gone
        at once; ``finish_deletions`` deletes what is left of it when we die meanwhile.
        """
        stored, doomed = StoredParcel(self.retired / parcel), self.retired / f".{parcel}"
        if stored.targets(PENDING) or stored.targets(HELD):
            return False
        try:
            stored.path.rename(doomed)
        except FileNotFoundError:
            return False
        StoredParcel(doomed).remove()
        return True

    def finish_deletions(self) -> None:
        """Delete what is left of parcels whose deletion was begun."""
        for path in self.retired.glob(".*"):
            StoredParcel(path).remove()
