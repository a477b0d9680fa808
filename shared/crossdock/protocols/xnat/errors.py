"""What can go wrong with an XNAT server, for people and for the dispatcher."""

from crossdock.errors import DeliveryError, ErrorKind


class XnatFailed(DeliveryError):  # noqa: N818 — reads as what happened
    """The server, the way to it or our settings are the problem, and not one instance.

    ``found`` and ``advice`` are the two halves of ``detail``.
    """

    def __init__(
        self,
        kind: ErrorKind,
        found: str,
        advice: str,
        *,
        temporary: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(kind, f"{found}; {advice}", temporary=temporary, retry_after=retry_after)
        self.found = found
        self.advice = advice


class InstanceRefused(Exception):  # noqa: N818 — reads as what happened
    """XNAT will not have what was sent, whereas it may take others; ``status`` is its answer."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Interrupted(Exception):  # noqa: N818 — reads as what happened
    """Nobody waits for this request any longer."""
