"""Which project, subject and session an instance belongs to."""

from dataclasses import dataclass
from pathlib import Path

from crossdock.config.labels import digest, fill_label
from crossdock.config.naming import keywords_of
from crossdock.config.targets import XnatTarget
from crossdock.dicom.header import read_keywords
from crossdock.errors import DicomError
from crossdock.protocols.base import Outgoing
from crossdock.protocols.payload import SpoolUnreadable


_MOST_KNOWN = 10_000  # files whose labels are not worked out again
_STUDY = "StudyInstanceUID"


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of a session; ``study`` is the Study Instance UID that it is for."""

    project: str
    subject: str
    session: str
    study: str


class Labelling:
    """The labels of instances, from the templates of a target."""

    def __init__(self, target: XnatTarget) -> None:
        self._target = target
        self._known: dict[Path, Labels] = {}
        templates = (target.project, target.subject, target.session)
        self._keywords = {_STUDY}.union(*map(keywords_of, templates))

    def of(self, outgoing: Outgoing) -> Labels:
        """Return the labels of an instance. Who has no ID shares a subject with nobody.

        Raises:
            SpoolUnreadable: the spool's file cannot be read.
        """
        labels = self._known.get(outgoing.path)
        if labels is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            labels = self._known[outgoing.path] = self._made(outgoing)
        return labels

    def _made(self, outgoing: Outgoing) -> Labels:
        values = self._values(outgoing)
        study = values.get(_STUDY, "")
        missing = f"unknown-{digest(study or outgoing.instance.sop_instance_uid)}"
        return Labels(
            project=fill_label(self._target.project, values),
            subject=fill_label(self._target.subject, values, missing),
            session=fill_label(self._target.session, values, missing),
            study=study,
        )

    def _values(self, outgoing: Outgoing) -> dict[str, str]:
        instance = outgoing.instance
        known = {
            "SOPClassUID": instance.sop_class_uid,
            "SOPInstanceUID": instance.sop_instance_uid,
            "TransferSyntaxUID": instance.transfer_syntax_uid,
        }
        try:
            return known | read_keywords(outgoing.path, self._keywords)
        except DicomError as error:
            raise SpoolUnreadable(str(error)) from error
        except OSError as error:
            words = (error.strerror or type(error).__name__).lower()
            raise SpoolUnreadable(words) from error
