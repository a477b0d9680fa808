"""What can go wrong with a store, for people and for the dispatcher."""

from crossdock.errors import DeliveryError, ErrorKind


class StoreFailed(DeliveryError):  # noqa: N818 — reads as what happened
    """The store, the way to it or our settings are the problem, and not one object.

    ``code`` is what the store answered, if it did; ``found`` and ``advice`` are the two halves of
    ``detail``.
    """

    def __init__(
        self,
        kind: ErrorKind,
        found: str,
        advice: str,
        *,
        temporary: bool = False,
        retry_after: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__(kind, f"{found}; {advice}", temporary=temporary, retry_after=retry_after)
        self.found = found
        self.advice = advice
        self.code = code


class ObjectRefused(Exception):  # noqa: N818 — reads as what happened
    """The store will not have this one object, whereas it may take others; ``status`` is its code."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Interrupted(Exception):  # noqa: N818 — reads as what happened
    """Nobody waits for this upload any longer."""
