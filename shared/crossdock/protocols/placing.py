"""Where an instance belongs among the files of a target."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from crossdock.config.naming import fill, keywords_of
from crossdock.config.targets import FileTarget
from crossdock.dicom.header import read_keywords
from crossdock.errors import DicomError
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.payload import SpoolUnreadable


COMPLETE = ".complete"
"""The name of the empty file that says that a directory has all of a delivery."""

_MOST_KNOWN = 10_000  # paths that are not worked out again


class Places:
    """The paths of instances below a target, from its template."""

    def __init__(self, target: FileTarget) -> None:
        self._target = target
        self._paths: dict[Path, PurePosixPath] = {}

    def path(self, outgoing: Outgoing) -> PurePosixPath:
        """Return where an instance belongs, a relative path that cannot leave the target.

        Raises:
            SpoolUnreadable: the spool's file cannot be read.
        """
        path = self._paths.get(outgoing.path)
        if path is None:
            if len(self._paths) >= _MOST_KNOWN:
                self._paths.clear()
            path = PurePosixPath(fill(self._target.naming, self._values(outgoing)))
            self._paths[outgoing.path] = path
        return path

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
            SpoolUnreadable: the file of one in the spool cannot be read.
        """
        kept = (each for each in instances if self.excluded(each) is None)
        return list(dict.fromkeys(self.path(each).parent for each in kept))

    def _values(self, outgoing: Outgoing) -> dict[str, str]:
        instance = outgoing.instance
        known = {
            "SOPClassUID": instance.sop_class_uid,
            "SOPInstanceUID": instance.sop_instance_uid,
            "TransferSyntaxUID": instance.transfer_syntax_uid,
        }
        try:
            return known | read_keywords(outgoing.path, keywords_of(self._target.naming))
        except DicomError:
            return known
        except OSError as error:
            words = (error.strerror or type(error).__name__).lower()
            raise SpoolUnreadable(words) from error
