"""What httpx raises, in our own terms."""

import socket
import ssl
from collections.abc import Iterator

import httpx

from crossdock.config.targets import XnatTarget
from crossdock.dicom.tls import words_of
from crossdock.errors import ErrorKind
from crossdock.protocols.xnat.errors import XnatFailed


TLS_ADVICE = "compare ca, certificate and host name with the server's"

_PEER = "is the server running, and are url and firewall right?"
_SLOW = "is it overloaded, or does a firewall drop what is sent?"


def translated(error: httpx.HTTPError, target: XnatTarget) -> XnatFailed:
    """Return what an error of the connection says of the target."""
    host, port = target.place
    place = f"{host} port {port}"
    tls = _tls_error(error)
    if tls is not None:
        return untrusted(words_of(tls))
    if isinstance(error, httpx.ConnectTimeout):
        found = f"{place}: no connection in {target.connect_timeout:g} s"
        return XnatFailed(ErrorKind.UNREACHABLE, found, _PEER, temporary=True)
    if isinstance(error, httpx.TimeoutException):
        found = f"{place}: it did not go on for {target.timeout:g} s"
        return XnatFailed(ErrorKind.TIMEOUT, found, _SLOW, temporary=True)
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in str(error):
        found = f"{place}: what answers there does not speak HTTP"
        return XnatFailed(ErrorKind.MISCONFIGURED, found, "correct the url; is it https?")
    found = f"{place}: {_os_words(error)}"
    return XnatFailed(ErrorKind.UNREACHABLE, found, _PEER, temporary=True)


def untrusted(words: str) -> XnatFailed:
    """Return what to say when TLS fails."""
    return XnatFailed(ErrorKind.MISCONFIGURED, f"TLS failed: {words}", TLS_ADVICE)


def _tls_error(error: httpx.HTTPError) -> ssl.SSLError | None:
    """Return the disagreement about TLS behind an error, None if the connection just broke."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            said = "ALERT" in (cause.reason or "")
            return cause if said or isinstance(error, httpx.ConnectError) else None
    return None


def _os_words(error: httpx.HTTPError) -> str:
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return f"name not found: {(cause.strerror or '').lower()}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    return "the connection was lost"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
