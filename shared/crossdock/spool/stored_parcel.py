"""A closed parcel: its instances, its deliveries, and the moves between their states."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from crossdock.errors import SpoolError
from crossdock.messages import DeliveryFinished, DeliveryRouted
from crossdock.model import DeliveryState, Instance, Outcome, Parcel, delivery_id
from crossdock.spool.durable import locked, move, sync_directory, write_file
from crossdock.spool.marker import (
    Claim,
    DeliveryRecord,
    Routed,
    first_line,
    in_work,
    journal_line,
    read_record,
)
from crossdock.spool.open_parcel import PARCEL


PENDING, HELD, DONE = "pending", "held", "done"
NOTE = "note.json"


class StoredParcel:
    """A parcel's directory below ``parcels/``, ``held/`` or ``retired/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @cached_property
    def parcel(self) -> Parcel:
        """What is in it.

        Raises:
            SpoolError: there is no such parcel, or its description is damaged.
        """
        try:
            return Parcel.model_validate_json((self.path / PARCEL).read_bytes())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "damaged"
            raise SpoolError(f"{self.path / PARCEL}: {reason}") from None

    def file(self, instance: Instance) -> Path:
        """Return the Part 10 file of an instance."""
        return self.path / f"{instance.number}.dcm"

    @property
    def routed(self) -> bool:
        """Whether the rules were evaluated: from then on there are markers or outcomes."""
        return any((self.path / state).exists() for state in (PENDING, HELD, DONE))

    def targets(self, state: str) -> list[str]:
        """Return the targets whose delivery is ``pending``, ``held`` or ``done``."""
        try:
            names = [marker.name for marker in (self.path / state).iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith("."))

    def marker(self, target: str, state: str = PENDING) -> Path:
        """Return the path of a target's marker, whether it exists or not."""
        return self.path / state / target

    def record(self, target: str, state: str = PENDING) -> DeliveryRecord:
        """Return what a target's journal adds up to.

        Raises:
            FileNotFoundError: there is no such marker in that state (any more).
            SpoolError: the marker is damaged.
        """
        return read_record(self.marker(target, state))

    def route(self, deliveries: Iterable[Routed]) -> None:
        """Write one marker per delivery, all of them or none; does nothing if it was done before.

        Raises:
            OSError: the disk is full or read-only; nothing is routed.
        """
        with self._locked():
            if self.routed:
                return
            _make_pending(self, deliveries)

    def also_route(self, routed: Routed) -> None:
        """Write the marker of one more delivery, beside one that is pending and claimed by us.

        Does nothing where the target has or had a delivery of this parcel.

        Raises:
            OSError: the disk is full or read-only; nothing is routed.
        """
        with self._locked():
            states = (PENDING, HELD, DONE)
            if not any(self.marker(routed.target, state).exists() for state in states):
                write_file(self.marker(routed.target), first_line(routed))

    def add(self, routed: Routed, parcels: Path) -> "StoredParcel":
        """Add a delivery, wherever the parcel is, and have it wait for deliveries in ``parcels``.

        One that is pending stays as it is. One that is held or final begins anew: the fresh marker
        is durable before the old one goes.

        Raises:
            FileNotFoundError: the parcel was moved meanwhile; look for it again.
            SpoolError: the rules were not evaluated yet, or the parcel is being deleted.
            OSError: the disk is full or read-only.
        """
        with self._locked():
            self._check_complete(elsewhere=self.path.parent != parcels)
            place = self
            if self.routed and self.path.parent != parcels:
                place = _moved(self, parcels)  # if we die after it, it is retired again
            if not place.marker(routed.target).exists():
                _begin(place, routed)
            return place if place.path.parent == parcels else _moved(place, parcels)

    def _check_complete(self, *, elsewhere: bool) -> None:
        if not elsewhere:
            if not self.routed:
                raise SpoolError("the rules were not evaluated on the parcel yet; try again")
            return
        if not all(self.file(instance).exists() for instance in self.parcel.instances):
            raise SpoolError("the parcel is being deleted: its time in the spool is over")

    def widen(self, target: str, numbers: Iterable[int]) -> bool:
        """Have a pending delivery bring these instances, too; False if it is gone or in work.

        Raises:
            SpoolError: the marker or the parcel's description is damaged.
            OSError: the disk is full or read-only.
        """
        claim = self.claim(target)
        if claim is None:
            return False
        try:
            routed = claim.record.routed
            wider = routed.instances and {*routed.instances, *numbers}
            if wider and wider != set(routed.instances or ()):
                whole = len(wider) == len(self.parcel.instances)
                instances = None if whole else tuple(sorted(wider))
                _, _, journal = claim.path.read_bytes().partition(b"\n")
                changed = first_line(routed.model_copy(update={"instances": instances}))
                write_file(claim.path, changed + journal)
        finally:
            claim.release()
        return True

    def delivery_routed(self, routed: Routed) -> DeliveryRouted:
        """Return the message that has a delivery attempted.

        Raises:
            SpoolError: the parcel's description is damaged.
        """
        wanted = self.parcel.instances if routed.instances is None else routed.instances
        return DeliveryRouted(
            delivery=delivery_id(self.id, routed.target),
            parcel=self.id,
            target=routed.target,
            protocol=routed.protocol,
            rules=routed.rules,
            instances=len(wanted),
            revision=routed.revision,
            at=routed.at,
            priority=routed.priority,
            instead_of=routed.instead_of[-1] if routed.instead_of else "",
            again_at=routed.again_at,
        )

    def delivery_finished(
        self, record: DeliveryRecord, state: DeliveryState, at: float, reason: str = ""
    ) -> DeliveryFinished:
        """Return the fact that a delivery is final, or held for a reason.

        Raises:
            SpoolError: the parcel's description is damaged.
        """
        count = record.tally(self.parcel)
        return DeliveryFinished(
            delivery=delivery_id(self.id, record.routed.target),
            state=state,
            delivered=count[Outcome.DELIVERED],
            warnings=count[Outcome.WARNING],
            missing=count[Outcome.REFUSED] + count[Outcome.NOT_SENT],
            reason=reason,
            remark=record.remark,
            at=at,
            again_at=record.routed.again_at,
        )

    def claim(self, target: str) -> Claim | None:
        """Take the right to work at a pending delivery; None if it is gone or in work."""
        return Claim.take(self.marker(target))

    def in_work(self, target: str) -> bool:
        """Whether somebody works at a pending delivery, or it is not pending any more."""
        return in_work(self.marker(target))

    def conclude(self, claim: Claim, state: DeliveryState) -> None:
        """Record the end of a claimed delivery and release it: held, or final."""
        claim.sync()
        name = HELD if state is DeliveryState.HELD else DONE
        with self._locked():
            move(claim.path, self._directory(name) / claim.path.name)
        claim.release()

    def resume(self, target: str) -> None:
        """Make a held delivery pending again, with all its attempts.

        Raises:
            FileNotFoundError: that delivery is not held.
        """
        self._unhold(target, PENDING, {"retry": True})

    def discard_held(self, target: str, reason: str) -> None:
        """Give a held delivery up for a reason.

        Raises:
            FileNotFoundError: that delivery is not held.
        """
        self._unhold(target, DONE, {"reason": reason})

    def _unhold(self, target: str, state: str, entry: dict[str, object]) -> None:
        with self._locked():
            held = self.marker(target, HELD)
            with held.open("r+b") as journal:  # appending would make a marker that is not there
                journal.seek(0, os.SEEK_END)
                journal.write(journal_line(entry))
            move(held, self._directory(state) / target)

    def _locked(self) -> AbstractContextManager[None]:
        """Hold the parcel's lock, which goes with it wherever it is moved.

        Raises:
            FileNotFoundError: it is not here (any more).
        """
        return locked(self.path / PARCEL)

    def _directory(self, state: str) -> Path:
        """Return the directory of a state, whose own name is durable."""
        directory = self.path / state
        if not directory.exists():
            directory.mkdir()
            sync_directory(self.path)
        return directory

    def retire(self, retired: Path) -> bool:
        """Move the parcel to ``retired`` if all its deliveries are final; return whether it was."""
        try:
            with self._locked():
                if not self.routed or self.targets(PENDING) or self.targets(HELD):
                    return False
                self._remove_empty(PENDING, HELD)
                move(self.path, retired / self.id)
        except FileNotFoundError:
            return False  # another process was first
        return True

    def _remove_empty(self, *names: str) -> None:
        for name in names:
            if (self.path / name).exists():
                for unfinished in (self.path / name).iterdir():  # whose writer was killed
                    unfinished.unlink()
                (self.path / name).rmdir()

    def annotate(self, text: str) -> None:
        """Write down for people why the parcel is where it is."""
        write_file(self.path / NOTE, json.dumps({"reason": text}).encode())

    def note(self) -> str:
        """Return what was written down, or nothing."""
        try:
            return str(json.loads((self.path / NOTE).read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def remove(self) -> None:
        """Delete the parcel, whether it is whole, in part or not there."""
        for directory, _, files in os.walk(self.path, topdown=False):
            for file in files:
                Path(directory, file).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                Path(directory).rmdir()


def _moved(stored: StoredParcel, directory: Path) -> StoredParcel:
    move(stored.path, directory / stored.id)
    return StoredParcel(directory / stored.id)


def _begin(stored: StoredParcel, routed: Routed) -> None:
    """Write the marker of a delivery that is not pending; under the parcel's lock."""
    marker = stored.marker(routed.target)
    held, done = stored.marker(routed.target, HELD), stored.marker(routed.target, DONE)
    if held.exists():
        write_file(held, first_line(routed))
        marker.parent.mkdir(exist_ok=True)
        sync_directory(stored.path)
        move(held, marker)
        return
    if marker.parent.exists():
        write_file(marker, first_line(routed))
    else:
        _make_pending(stored, [routed])
    if done.exists():
        done.unlink()
        sync_directory(done.parent)


def _make_pending(stored: StoredParcel, deliveries: Iterable[Routed]) -> None:
    """Write the first markers in one rename: a directory without any says that it was routed."""
    made = stored.path / f".{PENDING}"
    shutil.rmtree(made, ignore_errors=True)  # of a writer that was killed
    made.mkdir()
    for routed in deliveries:
        write_file(made / routed.target, first_line(routed))
    move(made, stored.path / PENDING)
