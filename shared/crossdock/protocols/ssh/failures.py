"""Why a connection over SSH did not come about."""

from crossdock.errors import ErrorKind
from crossdock.protocols.failures import TargetFailed


def unreachable(found: str) -> TargetFailed:
    """Return that nobody is there, or not any more."""
    advice = "is the server running, and are host, port and firewall right?"
    return TargetFailed(ErrorKind.UNREACHABLE, found, advice, temporary=True)


def timed_out(found: str) -> TargetFailed:
    """Return that somebody is there who does not answer."""
    advice = "is the server overloaded, or does a firewall drop what is sent?"
    return TargetFailed(ErrorKind.TIMEOUT, found, advice, temporary=True)


def busy(found: str) -> TargetFailed:
    """Return that the server has no room for us now."""
    advice = "the server takes no more connections now; try later"
    return TargetFailed(ErrorKind.BUSY, found, advice, temporary=True)


def unauthorised(found: str) -> TargetFailed:
    """Return that the server does not let the account in."""
    advice = "compare user, password and key with the account on the server"
    return TargetFailed(ErrorKind.UNAUTHORISED, found, advice)


def misconfigured(found: str, advice: str) -> TargetFailed:
    """Return that somebody has to mend the settings, or the server."""
    return TargetFailed(ErrorKind.MISCONFIGURED, found, advice)
