"""What httpx raises, in our own terms."""

import httpx

from crossdock.config.targets import XnatTarget
from crossdock.dicom.tls import words_of
from crossdock.errors import ErrorKind
from crossdock.protocols.failures import TargetFailed
from crossdock.protocols.web import errors as web


TLS_ADVICE = "compare ca, certificate and host name with the server's"

_PEER = "is the server running, and are url and firewall right?"
_SLOW = "is it overloaded, or does a firewall drop what is sent?"


def translated(error: httpx.HTTPError, target: XnatTarget) -> TargetFailed:
    """Return what an error of the connection says of the target."""
    host, port = target.place
    place = f"{host} port {port}"
    tls = web.tls_error(error)
    if tls is not None:
        return untrusted(words_of(tls))
    if isinstance(error, httpx.ConnectTimeout):
        found = f"{place}: no connection in {target.connect_timeout:g} s"
        return TargetFailed(ErrorKind.UNREACHABLE, found, _PEER, temporary=True)
    if isinstance(error, httpx.TimeoutException):
        found = f"{place}: it did not go on for {target.timeout:g} s"
        return TargetFailed(ErrorKind.TIMEOUT, found, _SLOW, temporary=True)
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in str(error):
        found = f"{place}: what answers there does not speak HTTP"
        return TargetFailed(ErrorKind.MISCONFIGURED, found, "correct the url; is it https?")
    found = f"{place}: {web.words_of(error) or 'the connection was lost'}"
    return TargetFailed(ErrorKind.UNREACHABLE, found, _PEER, temporary=True)


def untrusted(words: str) -> TargetFailed:
    """Return what to say when TLS fails."""
    return TargetFailed(ErrorKind.MISCONFIGURED, f"TLS failed: {words}", TLS_ADVICE)
