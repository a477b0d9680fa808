"""Projects: looked at before anything is sent, since what is sent for an unknown one goes astray."""

import threading
from http import HTTPStatus
from json import JSONDecodeError, loads

from crossdock.config.targets import XnatTarget
from crossdock.errors import ErrorKind
from crossdock.protocols.failures import TargetFailed
from crossdock.protocols.xnat.answers import failed
from crossdock.protocols.xnat.client import Client, path_of


_ADVICE = "make the project in XNAT, or correct project: it is the ID, not the title"


class Projects:
    """The projects that a target's deliveries go to. May be used by several threads."""

    def __init__(self, target: XnatTarget, client: Client) -> None:
        self._target = target
        self._client = client
        self._ids: dict[str, str] = {}
        self._looking = threading.Lock()

    def id_of(self, project: str) -> str:
        """Return the ID of a project that may be called by an alias; XNAT is asked once.

        Raises:
            TargetFailed: it is not there, or not for us.
        """
        with self._looking:
            if project not in self._ids:
                self._ids[project] = self._asked(project)
            return self._ids[project]

    def _asked(self, project: str) -> str:
        answer = self._client.ask("GET", path_of("projects", project), {"format": "json"})
        if answer.status == HTTPStatus.NOT_FOUND:
            which = project if self._target.fixed_project else "for an instance"
            found = f"there is no project {which}, or this account may not see it"
            raise TargetFailed(ErrorKind.MISCONFIGURED, found, _ADVICE)
        if not answer.good:
            raise failed(answer, "project")
        try:
            return str(loads(answer.text)["items"][0]["data_fields"]["ID"])
        except (JSONDecodeError, LookupError, TypeError):
            return project  # it is there, whatever else was said
