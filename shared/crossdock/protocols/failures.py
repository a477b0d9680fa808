"""What stops a delivery or one of its instances, in the form that all protocols share."""

from pathlib import Path

import structlog

from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols.base import Outgoing
from crossdock.telemetry import raised_at


log = structlog.get_logger(__name__)


class TargetFailed(DeliveryError):  # noqa: N818 — reads as what happened
    """The target, the way to it or our settings are the problem, and not one instance.

    ``found`` says what is the matter and ``advice`` what to do; both together are ``detail``.
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
    """The target does not take this one instance, whereas it may take others.

    ``status`` is its answer, or the name of the error. Neither quotes a name that may be made of a
    patient's.
    """

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    def outcome(self, outgoing: Outgoing) -> InstanceOutcome:
        """Return the instance's outcome."""
        return outgoing.outcome(Outcome.REFUSED, self.status, self.detail)


class SpoolUnreadable(Exception):  # noqa: N818 — reads as what happened
    """The instance's own file cannot be read; the target has nothing to do with it."""

    def outcome(self, outgoing: Outgoing) -> InstanceOutcome:
        """Return the instance's outcome."""
        return outgoing.outcome(
            Outcome.NOT_SENT, detail=f"its file in the spool cannot be read: {self}"
        )


class Interrupted(Exception):  # noqa: N818 — reads as what happened
    """Nobody waits any longer for what was going on."""


def fault(error: Exception) -> DeliveryError:
    """Return a fault of our own as a failure; its text might quote a patient and is left out."""
    where, kind = raised_at(error), type(error).__qualname__
    log.error("adapter.fault", error=kind, where=where)
    detail = f"a fault in the adapter: {kind} at {Path(where).name}"
    return DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False)
