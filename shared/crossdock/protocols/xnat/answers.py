"""What a server's answers mean. Of an answer only its status is quoted: texts may name patients."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from crossdock.errors import ErrorKind
from crossdock.protocols.failures import InstanceRefused, TargetFailed
from crossdock.protocols.web.answers import HTML, seconds_to_wait, status_words


_PLACE = re.compile(
    r"(?:/data)?/(?:(?P<kind>prearchive|archive)/projects|xapi/direct-archive)/(?P<project>[^/]+)"
    r"/(?P<rest>.+)"
)
_TIMESTAMP = re.compile(r"[0-9_]{1,40}")
_CONCURRENT = "Concurrent file sends"
_IN_PROGRESS = "already in progress"
_NO_ROOM = ("No space left on device", "Insufficient Storage")

_LOG = "look at XNAT's log"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: ``text`` is at most the beginning of its body.

    ``session`` is the ID of the session that it answered in, if it said so.
    """

    status: int
    session: str = ""
    media_type: str = ""
    location: str = ""
    retry_after: str = ""
    text: str = ""

    @property
    def good(self) -> bool:
        """Whether the server did what it was asked to, and did not answer with a web page."""
        return 200 <= self.status < 300 and self.media_type not in HTML  # noqa: PLR2004 — RFC 9110 15.3

    @property
    def wants_login(self) -> bool:
        """Whether the server no longer knows our session: 401, or the page to log in."""
        page = self.status == HTTPStatus.OK and self.media_type in HTML
        redirected = 300 <= self.status < 400 and "login" in self.location.lower()  # noqa: PLR2004 — RFC 9110 15.4
        return self.status == HTTPStatus.UNAUTHORIZED or page or redirected

    @property
    def words(self) -> str:
        """The status for people: ``HTTP 404 Not Found``."""
        return status_words(self.status)


class _Meaning(NamedTuple):
    kind: ErrorKind
    temporary: bool
    found: str
    advice: str


LOGIN_ADVICE = "compare user and password with the account in XNAT; an alias token expires"
_NOT_XNAT = "correct the url: it is that of XNAT's start page"

_OF_STATUS = {
    401: _Meaning(ErrorKind.UNAUTHORISED, False, "the login is not accepted", LOGIN_ADVICE),
    403: _Meaning(
        ErrorKind.UNAUTHORISED,
        False,
        "this account may not do that",
        "make it a member or owner of the project, who may edit its data",
    ),
    404: _Meaning(ErrorKind.MISCONFIGURED, False, "there is no such thing", _NOT_XNAT),
    405: _Meaning(ErrorKind.MISCONFIGURED, False, "there is no such service", _NOT_XNAT),
    408: _Meaning(ErrorKind.TIMEOUT, True, "it waited for us in vain", "is the network slow?"),
    429: _Meaning(ErrorKind.BUSY, True, "too many requests", "it is tried again by itself"),
    502: _Meaning(
        ErrorKind.UNREACHABLE, True, "the proxy there does not reach XNAT", "is XNAT running?"
    ),
    503: _Meaning(ErrorKind.BUSY, True, "it has no time for us", "it is tried again by itself"),
    504: _Meaning(
        ErrorKind.TIMEOUT, True, "the proxy there got no answer from XNAT", "is XNAT overloaded?"
    ),
    507: _Meaning(ErrorKind.BUSY, True, "it has no room", "make room on XNAT's disk"),
}
_FAULT = _Meaning(ErrorKind.UNREACHABLE, True, "XNAT has a fault", _LOG)
_PAGE = _Meaning(
    ErrorKind.MISCONFIGURED, False, "it answers with a web page, not as XNAT does", _NOT_XNAT
)
_UNKNOWN = _Meaning(ErrorKind.UNEXPECTED, False, "an answer that XNAT does not give", _LOG)


def failed(answer: Answer, what: str) -> TargetFailed:
    """Return what an answer that is not good says of the target; ``what`` was asked for."""
    if 300 <= answer.status < 400:  # noqa: PLR2004 — RFC 9110 15.4
        found = f"{what}: {answer.words}: it redirects to {_origin(answer.location)}"
        advice = "if that is right, make it the url: logins are not sent to other places"
        return TargetFailed(ErrorKind.MISCONFIGURED, found, advice)
    meaning = _meaning(answer)
    return TargetFailed(
        meaning.kind,
        f"{what}: {answer.words}: {meaning.found}",
        meaning.advice,
        temporary=meaning.temporary,
        retry_after=seconds_to_wait(answer.retry_after) if meaning.temporary else None,
    )


def _meaning(answer: Answer) -> _Meaning:
    if answer.status in _OF_STATUS:
        return _OF_STATUS[answer.status]
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _FAULT
    return _PAGE if answer.status < HTTPStatus.BAD_REQUEST else _UNKNOWN


def of_work_in_progress(answer: Answer, what: str) -> TargetFailed | None:
    """Return that XNAT is busy with the very session, or None if it did not say so."""
    locked = answer.status == HTTPStatus.FORBIDDEN and _IN_PROGRESS in answer.text
    if locked or (answer.status == HTTPStatus.CONFLICT and "locked" in answer.text):
        return busy(f"{what}: {answer.words}")
    return None


def busy(what: str) -> TargetFailed:
    """Return that XNAT is at work on the session."""
    found = f"{what}: XNAT is at work on this session"
    return TargetFailed(ErrorKind.BUSY, found, "it is tried again by itself", temporary=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is on the server, as a link that it gave: its project, and for people."""

    project: str
    words: str


def places_of(answer: Answer) -> list[Place]:
    """Return where an import put what was sent.

    Raises:
        InstanceRefused: nowhere; XNAT says so by an empty 200, or cannot read it.
        TargetFailed: the target is the problem.
    """
    if not answer.good:
        raise _of_import(answer)
    lines = answer.text.split()
    if not lines:
        raise InstanceRefused(
            f"{answer.words}, empty",
            "XNAT left it out: a series import filter or an anonymisation script rejects it",
        )
    found = [_PLACE.fullmatch(urlsplit(line).path) for line in lines]
    if not all(found):
        raise TargetFailed(_UNKNOWN.kind, f"import: {_UNKNOWN.found}", _UNKNOWN.advice)
    return [_place(match) for match in found if match]


def _of_import(answer: Answer) -> TargetFailed | InstanceRefused:
    text = answer.text
    if answer.status == HTTPStatus.BAD_REQUEST:
        if _CONCURRENT in text:
            return busy(f"import: {answer.words}")
        if any(words in text for words in _NO_ROOM):
            full = _OF_STATUS[507]
            found = f"import: {answer.words}: {full.found}"
            return TargetFailed(full.kind, found, full.advice, temporary=True)
    told = answer.status in _OF_STATUS
    if told or not HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return failed(answer, "import")
    return InstanceRefused(
        answer.words, "XNAT cannot take it: it does not read it as DICOM, or its log says more"
    )


def _place(match: re.Match[str]) -> Place:
    """Return a place without the session's label, which may be made of a patient's name."""
    project, timestamp = unquote(match["project"]), match["rest"].partition("/")[0]
    words = match["kind"] or "direct archive"
    if match["kind"] == "prearchive" and _TIMESTAMP.fullmatch(timestamp):
        words += f", received {timestamp}"
    return Place(project, words)


def _origin(location: str) -> str:
    """Return the scheme and host that a redirect leads to; the rest may hold anything."""
    try:
        found = urlsplit(location)
        port = f":{found.port}" if found.port else ""
    except ValueError:
        return "somewhere else"
    host = f"{found.scheme}://{found.hostname}{port}" if found.hostname else "another path"
    return host if host.isprintable() and len(host) < 300 else "somewhere else"  # noqa: PLR2004 — a host name
