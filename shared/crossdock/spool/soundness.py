"""What is not as it should be with one parcel in the spool, in words, and what to do about it."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from crossdock.dicom.part10 import read_file_meta
from crossdock.errors import DicomError, SpoolError
from crossdock.model import Frozen, Instance
from crossdock.spool.marker import DeliveryRecord
from crossdock.spool.stored_parcel import DONE, HELD, PENDING, StoredParcel


LEFTOVER_SECONDS = 3600.0
"""What is unfinished and was not touched for this long belongs to no living process."""

_LOST = "it cannot be sent: look after the disk, and have the sender send it again"
_UNMARKED = "send the parcel's files in again (`crossdock send`), then delete the marker"


class Problem(Frozen):
    """One thing in the spool that is not as it should be.

    ``where`` is a path below the spool's directory, ``problem`` says what is wrong with it and
    ``advice`` what to do.
    """

    where: str
    problem: str
    advice: str


Report = Callable[[Path, str, str], Problem]
"""Makes a problem of a path, what is wrong with it and what to do."""


def problem_at(root: Path, path: Path, problem: str, advice: str) -> Problem:
    """Return a problem with what is at ``path`` in the spool at ``root``."""
    return Problem(where=str(path.relative_to(root)), problem=problem, advice=advice)


def closed_problems(
    root: Path, stored: StoredParcel, targets: Collection[str] | None
) -> Iterator[Problem]:
    """Yield what is wrong with a closed parcel: description, instances and markers.

    ``targets`` are those of the configuration, None where that is not known. Contents are not
    compared, since no digest of them is kept.
    """
    report = partial(problem_at, root)
    try:
        parcel = stored.parcel
    except SpoolError as error:
        advice = (
            "move the parcel's directory into open/: the router describes and closes it again"
            if stored.path.is_dir()
            else "it is no parcel: move it out of the spool"
        )
        yield report(stored.path, f"its description cannot be used: {error}", advice)
        return
    if parcel.id != stored.id:
        yield report(stored.path, "it is described as another parcel", "rename it back")
    for instance in parcel.instances:
        yield from _instance_problems(report, stored.file(instance), instance)
    yield from _undescribed(report, stored, parcel.instances)
    yield from _marker_problems(report, stored, targets)


def head_problem(report: Report, file: Path) -> Problem | None:
    """Return what is wrong with the head of an instance's file, whatever it should hold."""
    try:
        read_file_meta(file)
    except DicomError as error:
        return report(file, f"its head is damaged: {error}", _LOST)
    except OSError as error:
        return report(file, f"it cannot be read: {error.strerror}", _LOST)
    return None


def leftovers(report: Report, directory: Path, now: float) -> Iterator[Problem]:
    """Yield the hidden files that a process left behind when it died; young ones are in work."""
    for path in sorted(directory.glob(".*")):
        if untouched(path, now):
            yield report(path, "a process that died left it", "it is harmless: delete it")


def untouched(path: Path, now: float) -> bool:
    """Whether something is there and nobody has changed it for long."""
    try:
        return path.stat().st_mtime < now - LEFTOVER_SECONDS
    except OSError:
        return False


def _instance_problems(report: Report, file: Path, instance: Instance) -> Iterator[Problem]:
    try:
        meta = read_file_meta(file)
        size, uid = meta.size, meta.sop_instance_uid
    except FileNotFoundError:
        yield report(file, "the instance is not there", _LOST)
        return
    except OSError as error:
        yield report(file, f"it cannot be read: {error.strerror}", _LOST)
        return
    except DicomError as error:
        yield report(file, f"its head is damaged: {error}", _LOST)
        size, uid = file.stat().st_size, instance.sop_instance_uid
    if size != instance.size:
        yield report(file, f"it has {size} bytes and not the {instance.size} that came", _LOST)
    if uid != instance.sop_instance_uid:
        yield report(file, "its head names another instance than the description", _LOST)


def _undescribed(
    report: Report, stored: StoredParcel, instances: Collection[Instance]
) -> Iterator[Problem]:
    described = {stored.file(instance) for instance in instances}
    for file in sorted(set(stored.path.glob("*.dcm")) - described):
        yield report(
            file,
            "the parcel's description does not know it, so it is never sent",
            "move it out of the spool and send it in again (`crossdock send`)",
        )


def _marker_problems(
    report: Report, stored: StoredParcel, targets: Collection[str] | None
) -> Iterator[Problem]:
    states = {state: stored.targets(state) for state in (PENDING, HELD, DONE)}
    for state, names in states.items():
        for name in names:
            yield from _one_marker(report, stored, name, state)
            if targets is not None and name not in targets and state != DONE:
                yield report(
                    stored.marker(name, state),
                    "its target is not configured",
                    "add the target again and retry the delivery, or discard it",
                )
    names = [name for each in states.values() for name in each]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield report(
            stored.path,
            f"its delivery to {name} stands in more than one state",
            "delete all of its markers but the one that is true",
        )


def _one_marker(report: Report, stored: StoredParcel, name: str, state: str) -> Iterator[Problem]:
    marker = stored.marker(name, state)
    try:
        record = stored.record(name, state)
    except FileNotFoundError:
        return  # moved on while we looked
    except (OSError, SpoolError) as error:
        yield report(marker, f"the delivery cannot go on: {error}", _UNMARKED)
        return
    if record.routed.target != name:
        yield report(marker, f"it is the marker of {record.routed.target}", _UNMARKED)
    if _wants_more(record, stored):
        yield report(marker, "it wants instances that the parcel does not have", _UNMARKED)
    if state == HELD and not record.reason:
        yield report(
            marker, "the delivery is held without a reason", "retry the delivery, or discard it"
        )


def _wants_more(record: DeliveryRecord, stored: StoredParcel) -> bool:
    numbers = {instance.number for instance in stored.parcel.instances}
    return not numbers.issuperset(record.routed.instances or ())
