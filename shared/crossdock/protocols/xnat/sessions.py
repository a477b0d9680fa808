"""Sessions in the prearchive: found, built and archived once a delivery is complete."""

from http import HTTPStatus
from json import JSONDecodeError, loads
from typing import NamedTuple

from crossdock.config.targets import XnatTarget
from crossdock.errors import ErrorKind
from crossdock.protocols.failures import TargetFailed
from crossdock.protocols.xnat.answers import Answer, busy, failed, of_work_in_progress
from crossdock.protocols.xnat.client import Client, path_of
from crossdock.protocols.xnat.labels import Labels
from crossdock.protocols.xnat.projects import Projects


_AT_WORK = ("BUILDING", "ARCHIVING", "MOVING", "DELETING", "SEPARATING", "QUEUED")
_ARCHIVE = path_of("services", "archive")
_CONFLICT = "decide about the session in XNAT's prearchive, or allow it by overwrite"
_LIST = "prearchive"


class _Session(NamedTuple):
    """A session in the prearchive."""

    timestamp: str
    folder: str
    status: str


class Sessions:
    """The sessions of a target's deliveries. All methods raise ``TargetFailed``."""

    def __init__(self, target: XnatTarget, client: Client, projects: Projects) -> None:
        self._target = target
        self._client = client
        self._projects = projects

    def listed(self, project: str) -> list[dict[str, str]]:
        """Return the sessions in a project's prearchive, which only who may edit it gets to see."""
        path = path_of("prearchive", "projects", project)
        answer = self._client.ask("GET", path, {"format": "json"}, long=True)
        if not answer.good:
            raise failed(answer, _LIST)
        try:
            rows = loads(answer.text)["ResultSet"]["Result"]
            return [{name: str(value) for name, value in row.items()} for row in rows]
        except (JSONDecodeError, LookupError, TypeError, AttributeError) as error:
            found, advice = f"{_LIST}: a list that cannot be read", "look at XNAT's log"
            raise TargetFailed(ErrorKind.UNEXPECTED, found, advice) from error

    def complete(self, labels: Labels) -> None:
        """Build a session and archive it, as the target wants it. Again is fine."""
        project = self._projects.id_of(labels.project)
        found = [session for row in self.listed(project) if (session := _session(row, labels))]
        archives = self._target.destination == "archive"
        if not found and archives:
            self._must_be_archived(project, labels)
        for session in found:
            self._build(project, session)
            if archives:
                self._archive(project, session)

    def _build(self, project: str, session: _Session) -> None:
        if session.status.startswith(_AT_WORK):
            raise busy("build")
        if session.status == "CONFLICT":
            found = "XNAT has found the session in conflict with one that is archived"
            raise TargetFailed(ErrorKind.REFUSED, found, _CONFLICT)
        if session.status == "READY":
            return
        path = path_of("prearchive", "projects", project, session.timestamp, session.folder)
        answer = self._client.ask("POST", path, {"action": "build"})
        if not answer.good:
            raise of_work_in_progress(answer, "build") or failed(answer, "build")

    def _archive(self, project: str, session: _Session) -> None:
        source = f"/prearchive/projects/{project}/{session.timestamp}/{session.folder}"
        query = {"src": source}
        if self._target.overwrite != "none":
            query |= {"overwrite": self._target.overwrite, "overwrite_files": "true"}
        answer = self._client.ask("POST", _ARCHIVE, query)
        if answer.good or answer.status == HTTPStatus.SEE_OTHER:
            return
        raise of_work_in_progress(answer, "archive") or _of_archive(answer)

    def _must_be_archived(self, project: str, labels: Labels) -> None:
        """Make sure that a session that has left the prearchive has come to the archive."""
        subject = ("projects", project, "subjects", labels.subject)
        path = path_of(*subject, "experiments", labels.session)
        answer = self._client.ask("GET", path, {"format": "json"})
        if answer.status == HTTPStatus.NOT_FOUND:
            found = "the session is neither in the prearchive nor in the archive"
            raise TargetFailed(ErrorKind.UNEXPECTED, found, "has somebody moved it? Send it again")
        if not answer.good:
            raise failed(answer, "archive")


def _session(row: dict[str, str], labels: Labels) -> _Session | None:
    """Return a row of the prearchive's list if it is the session that we mean."""
    ours = row.get("name") == labels.session and row.get("tag", labels.study) == labels.study
    timestamp, folder = row.get("timestamp", ""), row.get("folderName") or row.get("name", "")
    if not ours or not timestamp:
        return None
    return _Session(timestamp, folder, row.get("status", "").upper().lstrip("_"))


def _of_archive(answer: Answer) -> TargetFailed:
    if answer.status == HTTPStatus.CONFLICT:
        found = f"archive: {answer.words}: there is such a session already, and it is not like this"
        return TargetFailed(ErrorKind.REFUSED, found, _CONFLICT)
    return failed(answer, "archive")
