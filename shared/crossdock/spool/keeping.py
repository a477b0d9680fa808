"""What the spool can vouch for: where instances are, and which targets have confirmed them.

There is no index. The spool is searched, the newest parcels first, so what was sent just now is
found at once; it ends when all is found.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.errors import DicomError, SpoolError
from crossdock.model import Instance, Outcome
from crossdock.spool.durable import sync_directory
from crossdock.spool.spool import Spool
from crossdock.spool.stored_parcel import DONE, HELD, PENDING, StoredParcel


_UID = re.compile(rb'"sop_instance_uid":"([^"]*)"')
_HAVE = (Outcome.DELIVERED, Outcome.WARNING)


class Kept(NamedTuple):
    """One place where an instance is on disk, and the targets that have confirmed it."""

    sop_class_uid: str
    confirmed: frozenset[str]


def find_kept(
    spool: Spool, wanted: Mapping[str, str], enough: Callable[[Kept], bool]
) -> dict[str, list[Kept]]:
    """Return where instances are kept, by SOP Instance UID.

    ``wanted`` gives the SOP class of each. The search ends once each was found in a place that is
    of its class and ``enough``. What is returned was synced to the disk now, if it was not before.

    Raises:
        OSError: the spool cannot be read or synced.
    """
    found: dict[str, list[Kept]] = {}
    missing = set(wanted)
    for places in (_open_places, _closed_places):
        for uid, kept in places(spool, missing):
            found.setdefault(uid, []).append(kept)
            if kept.sop_class_uid == wanted[uid] and enough(kept):
                missing.discard(uid)
    return found


def _open_places(spool: Spool, missing: set[str]) -> Iterator[tuple[str, Kept]]:
    """Look into the parcels that still grow, whose instances only their files describe."""
    for parcel in sorted(spool.opened.iterdir(), reverse=True):
        if not missing:
            return
        files = _described(parcel)
        here = [(file, meta) for file, meta in files if meta.sop_instance_uid in missing]
        if _synced([file for file, _ in here]):
            for _, meta in here:
                yield meta.sop_instance_uid, Kept(meta.sop_class_uid, frozenset())


def _described(parcel: Path) -> Iterator[tuple[Path, FileMeta]]:
    with suppress(FileNotFoundError):  # closed in the meantime, and found in the next place
        for file in sorted(parcel.glob("*.dcm")):
            with suppress(DicomError):  # damaged
                yield file, read_file_meta(file)


def _closed_places(spool: Spool, missing: set[str]) -> Iterator[tuple[str, Kept]]:
    """Look into closed parcels, in the order in which they move, so that none slips through."""
    for directory in (spool.parcels, spool.held, spool.retired):
        for path in sorted(directory.iterdir(), reverse=True):
            if not missing:
                return
            yield from _in_parcel(StoredParcel(path), missing, directory == spool.retired)


def _in_parcel(
    stored: StoredParcel, missing: set[str], retired: bool
) -> Iterator[tuple[str, Kept]]:
    try:
        content = (stored.path / "parcel.json").read_bytes()
        if missing.isdisjoint(uid.decode("utf-8", "replace") for uid in _UID.findall(content)):
            return
        instances = [each for each in stored.parcel.instances if each.sop_instance_uid in missing]
        confirmed = _confirmed(stored)
    except (FileNotFoundError, SpoolError):  # moved on, or damaged and said so elsewhere
        return
    sound = [each for each in instances if _is_sound(stored, each)]
    if not _synced([stored.file(each) for each in sound]):
        return
    for each in sound:
        targets = frozenset(name for name, numbers in confirmed.items() if each.number in numbers)
        if targets or not retired:  # what was retired without a target a person has discarded
            yield each.sop_instance_uid, Kept(each.sop_class_uid, targets)


def _confirmed(stored: StoredParcel) -> dict[str, set[int]]:
    """Return the numbers of the instances that each target has."""
    records = {
        target: stored.record(target, state)
        for state in (PENDING, HELD, DONE)
        for target in stored.targets(state)
    }
    return {
        target: {number for number, each in record.outcomes.items() if each.outcome in _HAVE}
        for target, record in records.items()
    }


def _is_sound(stored: StoredParcel, instance: Instance) -> bool:
    try:
        return stored.file(instance).stat().st_size == instance.size
    except FileNotFoundError:
        return False


def _synced(files: list[Path]) -> bool:
    """Make files and their names durable, however their node syncs; False if they have moved."""
    try:
        for file in files:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        for directory in {file.parent for file in files}:
            sync_directory(directory)
    except FileNotFoundError:
        return False
    return True
