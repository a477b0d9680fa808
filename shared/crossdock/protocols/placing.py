"""Where an instance belongs among the files of a target."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from crossdock.config.naming import fill, keywords_of
from crossdock.config.targets import FileTarget
from crossdock.dicom.header import read_keywords
from crossdock.errors import DeliveryError, DicomError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import SpoolUnreadable


COMPLETE = ".complete"
"""The name of the empty file that says that a directory has all of a delivery."""

_MOST_REMEMBERED = 10_000

T = TypeVar("T")


class Places:
    """The paths of instances below a target, from its template."""

    def __init__(self, target: FileTarget) -> None:
        self._target = target
        self._path = Remembered(self._worked_out)

    def path(self, outgoing: Outgoing) -> PurePosixPath:
        """Return where an instance belongs, a relative path that cannot leave the target.

        Raises:
            SpoolUnreadable: the spool's file cannot be read.
        """
        return self._path(outgoing)

    def excluded(self, outgoing: Outgoing) -> InstanceOutcome | None:
        """Return the outcome of an instance that the target's settings leave out, else None.

        Raises:
            SpoolUnreadable: the spool's file cannot be read.
        """
        if not self._target.exclude or not self._target.excludes(str(self.path(outgoing))):
            return None
        return outgoing.outcome(Outcome.EXCLUDED, detail="left out by the target's exclude")

    def directories(self, instances: Iterable[Outgoing]) -> list[PurePosixPath]:
        """Return each directory below the target that instances belong in, in order.

        Raises:
            DeliveryError: the file of one in the spool cannot be read.
        """
        try:
            kept = [each for each in instances if self.excluded(each) is None]
            return list(dict.fromkeys(self.path(each).parent for each in kept))
        except SpoolUnreadable as error:
            detail = f"a file in the spool cannot be read: {error}"
            raise DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False) from error

    def _worked_out(self, outgoing: Outgoing) -> PurePosixPath:
        try:
            values = values_of(outgoing, keywords_of(self._target.naming))
        except DicomError:
            values = uids_of(outgoing)
        return PurePosixPath(fill(self._target.naming, values))


class Remembered(Generic[T]):
    """What ``work`` says of instances: asked once for each, unless there are very many."""

    def __init__(self, work: Callable[[Outgoing], T]) -> None:
        self._work = work
        self._known: dict[Path, T] = {}

    def __call__(self, outgoing: Outgoing) -> T:
        """Return what it says of an instance, or raise as it does."""
        known = self._known.get(outgoing.path)
        if known is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            known = self._known[outgoing.path] = self._work(outgoing)
        return known


def values_of(outgoing: Outgoing, keywords: Collection[str]) -> dict[str, str]:
    """Return the texts of some elements of an instance by their keywords.

    Raises:
        DicomError: its header is damaged.
        SpoolUnreadable: the spool's file cannot be read.
    """
    try:
        return uids_of(outgoing) | read_keywords(outgoing.path, keywords)
    except OSError as error:
        words = (error.strerror or type(error).__name__).lower()
        raise SpoolUnreadable(words) from error


def uids_of(outgoing: Outgoing) -> dict[str, str]:
    """Return what is known of an instance without its file, by keywords."""
    instance = outgoing.instance
    return {
        "SOPClassUID": instance.sop_class_uid,
        "SOPInstanceUID": instance.sop_instance_uid,
        "TransferSyntaxUID": instance.transfer_syntax_uid,
    }


def temporary_name(target: FileTarget, outgoing: Outgoing) -> str:
    """Return a hidden name that only this instance of this delivery has, in every try."""
    own = f"{target.name}/{outgoing.path.parent.name}/{outgoing.path.name}"
    return f".{hashlib.sha256(own.encode()).hexdigest()[:24]}.part"
