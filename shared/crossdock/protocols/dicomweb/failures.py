"""What a server's status codes, and the errors of HTTP and TLS, say of a target."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from crossdock.dicom.tls import words_of
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.protocols.stages import StageFailed
from crossdock.protocols.web import errors as web
from crossdock.protocols.web.answers import HTML, seconds_to_wait, status_words


_LONGEST_PLACE = 200  # characters of an address that a server names

ADVICE = {
    ErrorKind.UNREACHABLE: "is the server running, and are url, proxy and firewall right?",
    ErrorKind.TIMEOUT: "is the server overloaded, or does a firewall drop what is sent?",
    ErrorKind.BUSY: "the server has no room now; try later",
    ErrorKind.UNAUTHORISED: "compare the login with the server's accounts and their rights",
    ErrorKind.MISCONFIGURED: "compare url and prefixes with the server's settings",
    ErrorKind.UNEXPECTED: "look at the server's log",
}
TLS_ADVICE = "compare ca, certificate, host name and TLS version with the server's settings"
_NOT_IN_TIME: dict[type[httpx.HTTPError], str] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.WriteTimeout: "it stopped taking data",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; ``body`` is None if it was too long, or cannot be decoded."""

    status: int
    media_type: str
    retry_after: str
    location: str
    body: bytes | None

    @property
    def good(self) -> bool:
        """Whether the server did what it was asked to."""
        return 200 <= self.status < 300  # noqa: PLR2004 — RFC 9110 15.3

    @property
    def words(self) -> str:
        """The status for people: ``HTTP 404 Not Found``."""
        return status_words(self.status)


_OF_STATUS = {
    401: (ErrorKind.UNAUTHORISED, False, "the login is not accepted"),
    403: (ErrorKind.UNAUTHORISED, False, "this login may not do that"),
    404: (ErrorKind.MISCONFIGURED, False, "there is no such service under this URL"),
    405: (ErrorKind.MISCONFIGURED, False, "there is no such service under this URL"),
    406: (ErrorKind.MISCONFIGURED, False, "it answers neither in DICOM JSON nor in XML"),
    407: (ErrorKind.UNAUTHORISED, False, "the proxy wants another login"),
    408: (ErrorKind.TIMEOUT, True, "it waited for us in vain"),
    410: (ErrorKind.MISCONFIGURED, False, "there is no such service under this URL any more"),
    421: (ErrorKind.MISCONFIGURED, False, "the server is not responsible for this URL"),
    425: (ErrorKind.BUSY, True, "too early"),
    429: (ErrorKind.BUSY, True, "too many requests"),
    501: (ErrorKind.MISCONFIGURED, False, "there is no such service under this URL"),
    502: (ErrorKind.UNREACHABLE, True, "the gateway there does not reach its server"),
    503: (ErrorKind.BUSY, True, "it has no room for requests now"),
    504: (ErrorKind.TIMEOUT, True, "the gateway there got no answer from its server"),
    507: (ErrorKind.BUSY, True, "it has no space left"),
    511: (ErrorKind.MISCONFIGURED, False, "the network wants a login first"),
}


def of_answer(answer: Answer, service: str) -> DeliveryError | None:
    """Return what an answer says of the target, None if it is about what was asked for."""
    if 300 <= answer.status < 400:  # noqa: PLR2004 — RFC 9110 15.4
        words = f"{service}: {answer.words}: redirects to {_place(answer.location)}"
        advice = "; if that is right, make it the url: logins are not sent to other places"
        return DeliveryError(ErrorKind.MISCONFIGURED, words + advice, temporary=False)
    if answer.good and answer.media_type in HTML:
        words = f"{service}: {answer.words}, with a web page; is the url that of a DICOMweb service"
        detail = f"{words}, and the login right?"
        return DeliveryError(ErrorKind.MISCONFIGURED, detail, temporary=False)
    if answer.status not in _OF_STATUS:
        return None
    kind, temporary, words = _OF_STATUS[answer.status]
    wait = seconds_to_wait(answer.retry_after) if temporary else None
    detail = f"{service}: {answer.words}: {words}"
    return DeliveryError(kind, detail, temporary=temporary, retry_after=wait)


def of_transport(error: httpx.HTTPError, place: str) -> DeliveryError:
    """Return what an error of the connection to ``place`` says of the target."""
    secure = web.tls_error(error)
    if secure is not None:
        detail = f"{place}: TLS: {words_of(secure)}"
        return DeliveryError(ErrorKind.MISCONFIGURED, detail, temporary=False)
    kind, words = _kind_and_words(error)
    temporary = kind in (ErrorKind.UNREACHABLE, ErrorKind.TIMEOUT)
    return DeliveryError(kind, f"{place}: {words}", temporary=temporary)


def _kind_and_words(error: httpx.HTTPError) -> tuple[ErrorKind, str]:
    if isinstance(error, httpx.TimeoutException):
        return ErrorKind.TIMEOUT, _NOT_IN_TIME.get(type(error), "no answer in time")
    if isinstance(error, httpx.ProxyError):
        return _of_proxy(str(error))
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" not in str(error):
        return ErrorKind.UNREACHABLE, "it closed the connection without an answer"
    if isinstance(error, httpx.ProtocolError | httpx.UnsupportedProtocol):
        return ErrorKind.MISCONFIGURED, "what answers there does not speak HTTP; is it https?"
    return ErrorKind.UNREACHABLE, web.words_of(error) or "the connection failed"


def _of_proxy(words: str) -> tuple[ErrorKind, str]:
    status = words[:3]
    if status == "407":
        return ErrorKind.UNAUTHORISED, "the proxy wants another login"
    if status == "403":
        return ErrorKind.MISCONFIGURED, "the proxy does not let us through to there"
    return ErrorKind.UNREACHABLE, "the proxy does not reach it"


def stage_failed(error: DeliveryError) -> StageFailed:
    """Return an error as a failed stage of a check, with what to do."""
    secure = ": TLS: " in error.detail
    return StageFailed(error.detail, TLS_ADVICE if secure else ADVICE[error.kind])


def _place(location: str) -> str:
    """Return where a redirect leads, without its query, which may hold a secret."""
    try:
        found = urlsplit(location)
        host = f"{found.scheme}://{found.hostname}" if found.hostname else ""
        port = f":{found.port}" if found.port else ""
    except ValueError:
        return "somewhere else"
    place = f"{host}{port}{found.path}"[:_LONGEST_PLACE]
    return place if place.isprintable() and place else "somewhere else"
