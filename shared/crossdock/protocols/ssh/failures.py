"""Why a connection over SSH did not come about."""

from crossdock.errors import DeliveryError, ErrorKind


_ADVICE = {
    ErrorKind.UNREACHABLE: "is the server running, and are host, port and firewall right?",
    ErrorKind.TIMEOUT: "is the server overloaded, or does a firewall drop what is sent?",
    ErrorKind.BUSY: "the server takes no more connections now; try later",
    ErrorKind.UNAUTHORISED: "compare user, password and key with the account on the server",
}


class SshFailed(DeliveryError):  # noqa: N818 — reads as what happened
    """A connection could not be opened; ``advice`` says what to do about it."""

    def __init__(
        self, kind: ErrorKind, detail: str, advice: str = "", *, temporary: bool = False
    ) -> None:
        advice = advice or _ADVICE.get(kind, "look at the server's log")
        super().__init__(kind, f"{detail}; {advice}", temporary=temporary)
        self.found = detail
        self.advice = advice


def unreachable(detail: str) -> SshFailed:
    """Return that nobody is there, or not any more."""
    return SshFailed(ErrorKind.UNREACHABLE, detail, temporary=True)


def timed_out(detail: str) -> SshFailed:
    """Return that somebody is there who does not answer."""
    return SshFailed(ErrorKind.TIMEOUT, detail, temporary=True)


def busy(detail: str) -> SshFailed:
    """Return that the server has no room for us now."""
    return SshFailed(ErrorKind.BUSY, detail, temporary=True)


def unauthorised(detail: str) -> SshFailed:
    """Return that the server does not let the account in."""
    return SshFailed(ErrorKind.UNAUTHORISED, detail)


def misconfigured(detail: str, advice: str) -> SshFailed:
    """Return that somebody has to mend the settings, or the server."""
    return SshFailed(ErrorKind.MISCONFIGURED, detail, advice)
