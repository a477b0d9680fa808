"""Which project, subject and session an instance belongs to."""

from dataclasses import dataclass

from crossdock.config.labels import digest, fill_label
from crossdock.config.naming import keywords_of
from crossdock.config.targets import XnatTarget
from crossdock.errors import DicomError
from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import SpoolUnreadable
from crossdock.protocols.placing import Remembered, values_of


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
        self._labels = Remembered(self._worked_out)
        templates = (target.project, target.subject, target.session)
        self._keywords = {_STUDY}.union(*map(keywords_of, templates))

    def of(self, outgoing: Outgoing) -> Labels:
        """Return the labels of an instance. Who has no ID shares a subject with nobody.

        Raises:
            SpoolUnreadable: the spool's file cannot be read.
        """
        return self._labels(outgoing)

    def _worked_out(self, outgoing: Outgoing) -> Labels:
        try:
            values = values_of(outgoing, self._keywords)
        except DicomError as error:
            raise SpoolUnreadable(str(error)) from error
        study = values.get(_STUDY, "")
        missing = f"unknown-{digest(study or outgoing.instance.sop_instance_uid)}"
        return Labels(
            project=fill_label(self._target.project, values),
            subject=fill_label(self._target.subject, values, missing),
            session=fill_label(self._target.session, values, missing),
            study=study,
        )
