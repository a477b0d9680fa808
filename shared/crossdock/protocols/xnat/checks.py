"""Tries a server stage by stage, as far as a delivery would go. Nothing is written."""

import socket
from http import HTTPStatus
from json import JSONDecodeError, loads

from crossdock.config.targets import XnatTarget
from crossdock.model import CheckReport
from crossdock.protocols import network
from crossdock.protocols.stages import (
    Found,
    Stage,
    StageFailed,
    StageSkipped,
    explained,
    run_stages,
)
from crossdock.protocols.xnat.client import Client, tls_context
from crossdock.protocols.xnat.failures import TLS_ADVICE
from crossdock.protocols.xnat.projects import Projects
from crossdock.protocols.xnat.sessions import Sessions


_BUILD = "/xapi/siteConfig/buildInfo"


class Check:
    """One check of a server."""

    def __init__(self, target: XnatTarget) -> None:
        self._target = target
        self._made: Client | None = None
        self._socket: socket.socket | None = None

    def report(self) -> CheckReport:
        """Run the stages: resolve, ping, connect, tls, authenticate, authorise, round trip."""
        place = self._target.place
        tls: tuple[Stage, ...] = (("tls", self._tls),) if self._target.secure else ()
        try:
            return run_stages(
                (
                    ("resolve", lambda: network.resolve(*place)),
                    ("ping", lambda: network.ping(*place)),
                    ("connect", self._connect),
                    *tls,
                    ("authenticate", self._authenticate),
                    ("authorise", self._authorise),
                    ("round trip", self._round_trip),
                )
            )
        finally:
            self._hang_up()
            if self._made is not None:
                self._made.close()

    def _connect(self) -> str:
        port = self._target.place[1]
        advice = "is XNAT running, and are url and firewall right?"
        self._socket = network.connected(self._target.place, self._target.connect_timeout, advice)
        encrypted = "" if self._target.secure else "; nothing is encrypted, nor is the password"
        return f"connected to port {port}{encrypted}"

    def _tls(self) -> Found:
        assert self._socket is not None  # noqa: S101 — the stage before made it
        context, host = tls_context(self._target), self._target.place[0]
        seconds = self._target.timeout
        sock = network.handshaken(self._socket, context, host, seconds, TLS_ADVICE)
        self._socket = sock
        return network.of_handshake(sock)

    def _authenticate(self) -> str:
        self._hang_up()
        self._client().log_in()
        return f"{self._target.user} is logged in"

    def _authorise(self) -> str:
        """Look at the project, and at its prearchive: only who may edit it gets to see that."""
        if not self._target.fixed_project:
            raise StageSkipped("which project it is depends on each instance")
        project = self._target.project
        projects = Projects(self._target, self._client())
        found = projects.id_of(project)
        before = f"project {project} is there, but not for this account to edit: "
        sessions = Sessions(self._target, self._client(), projects)
        waiting = explained(lambda: sessions.listed(found), before)
        return f"project {project} may be edited; {len(waiting)} sessions in its prearchive"

    def _round_trip(self) -> str:
        answer = self._client().ask("GET", _BUILD)
        if answer.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            raise StageSkipped(f"the server does not tell its version ({answer.words})")
        if not answer.good:
            raise StageFailed(f"{answer.words} when asked for the version", "look at XNAT's log")
        return f"XNAT {_version(answer.text)}"

    def _client(self) -> Client:
        if self._made is None:
            self._made = Client(self._target)
        return self._made

    def _hang_up(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()


def _version(text: str) -> str:
    try:
        version = str(loads(text)["version"])
    except (JSONDecodeError, LookupError, TypeError):
        return "of an unknown version"
    return version if version.isprintable() and len(version) < 50 else "of an odd version"  # noqa: PLR2004 — a version
