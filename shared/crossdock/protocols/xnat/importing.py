"""Puts instances into XNAT, and believes only what it says of the very project."""

from collections.abc import Sequence
from contextlib import suppress

from crossdock.config.targets import XnatTarget
from crossdock.errors import ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import InstanceRefused, SpoolUnreadable, TargetFailed
from crossdock.protocols.xnat.answers import Place, places_of
from crossdock.protocols.xnat.batches import Batch
from crossdock.protocols.xnat.bodies import Body, FileBody, ZipBody
from crossdock.protocols.xnat.client import Client, path_of
from crossdock.protocols.xnat.labels import Labels
from crossdock.protocols.xnat.projects import Projects


_IMPORT = path_of("services", "import")
_SINGLE = "gradual-DICOM"


class Importing:
    """Sends batches to XNAT's import service. May be used by several threads."""

    def __init__(self, target: XnatTarget, client: Client, projects: Projects) -> None:
        self._target = target
        self._client = client
        self._projects = projects
        self._closed: dict[str, str] = {}

    def outcomes(self, batch: Batch) -> list[InstanceOutcome]:
        """Send a batch, and return the outcome of each instance.

        A zip of which XNAT does not take all goes again one by one, to tell which one it is;
        what it took of it is replaced by the same.

        Raises:
            TargetFailed: the target is the problem.
        """
        if batch.labels is None:
            return [batch.known] if batch.known is not None else []
        if len(batch.instances) > 1:
            with suppress(InstanceRefused, SpoolUnreadable):
                self._import("DICOM-zip", batch.labels, ZipBody(batch.instances))
                return [each.outcome(Outcome.DELIVERED) for each in batch.instances]
        return self._one_by_one(batch.instances, batch.labels)

    def _one_by_one(self, instances: Sequence[Outgoing], labels: Labels) -> list[InstanceOutcome]:
        outcomes = []
        for outgoing in instances:
            try:
                self._import(_SINGLE, labels, FileBody(outgoing))
            except (InstanceRefused, SpoolUnreadable) as error:
                outcomes.append(error.outcome(outgoing))
            else:
                outcomes.append(outgoing.outcome(Outcome.DELIVERED))
        return outcomes

    def _import(self, handler: str, labels: Labels, body: Body) -> None:
        if labels.project in self._closed:
            raise InstanceRefused("not sent", self._closed[labels.project])
        project = self._id_of(labels.project)
        for place in places_of(self._client.post(_IMPORT, self._query(handler, labels), body)):
            if place.project.lower() not in (project.lower(), labels.project.lower()):
                raise self._misplaced(place, labels.project)

    def _query(self, handler: str, labels: Labels) -> dict[str, str]:
        query = {
            "import-handler": handler,
            "inbody": "true",
            # Files get their names from their UIDs, so that requests do not get in each other's way.
            "rename": "true",
            "PROJECT_ID": labels.project,
            "SUBJECT_ID": labels.subject,
            "EXPT_LABEL": labels.session,
        }
        if self._target.destination == "archive" and not self._target.commit:
            query["AA"] = "true"
        return query

    def _id_of(self, project: str) -> str:
        """Return the project's ID; only of a template's projects some may be missing."""
        try:
            return self._projects.id_of(project)
        except TargetFailed as error:
            if error.temporary or self._target.fixed_project:
                raise
            detail = f"no project for it: {error.found}"
            raise InstanceRefused("no project", detail) from error

    def _misplaced(self, place: Place, project: str) -> TargetFailed | InstanceRefused:
        """Return where something went astray; nothing more is sent for that project."""
        if place.project == "Unassigned":
            landed = f"Unassigned of the {place.words}"
        else:
            landed = f"another project ({place.words})"
        which = self._target.project if self._target.fixed_project else "that it is for"
        found = f"XNAT put it into {landed}, and it stays there"
        advice = f"is there a project {which}, and may {self._target.user} write to it?"
        if self._target.fixed_project:
            return TargetFailed(ErrorKind.MISCONFIGURED, found, advice)
        self._closed[project] = f"XNAT put another instance of its project elsewhere: {advice}"
        return InstanceRefused("misplaced", f"{found}: {advice}")
