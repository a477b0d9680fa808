"""Every exception that crosses a module border.

::

    CrossdockError
     ├── ConfigError        a configuration is invalid; names the field
     ├── MessageError       a message cannot be understood
     ├── BusError           the broker did not take responsibility for a message
     │    └── NoReply       nobody answered a request in time
     ├── SecretUnavailable  a secret cannot be had here; never says what it is
 ├── SpoolError         the spool cannot keep its promise (full, read-only, damaged)
     ├── DicomError         bytes are not the DICOM they should be
     └── DeliveryError      a connection to a target failed; says what kind of failure

A library's own exception never leaves the one file that uses the library.
"""

from dataclasses import dataclass
from enum import StrEnum


class CrossdockError(Exception):
    """The root: catching it catches everything that Crossdock raises on purpose."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with a configuration.

    ``field`` is a path as the user wrote it, such as ``targets[2].port``.
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ConfigError(CrossdockError):
    """A configuration is invalid; ``problems`` names every field that is."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


class MessageError(CrossdockError):
    """A message cannot be understood: not JSON, of an unknown type, or with wrong fields."""


class BusError(CrossdockError):
    """The broker did not take responsibility for a message; nothing may be assumed about it."""


class NoReply(BusError):  # noqa: N818 — reads as what happened, as in "except NoReply"
    """Nobody answered a request before its deadline."""


class SecretUnavailable(CrossdockError):  # noqa: N818 — reads as what happened
    """A secret of the configuration cannot be had here; the text says why, never what it is."""


class SpoolError(CrossdockError):
    """The spool cannot keep its promise: the disk is full, read-only or damaged."""


class DicomError(CrossdockError):
    """Bytes are not the DICOM that they should be; the message says where."""


class ErrorKind(StrEnum):
    """What went wrong with a target, in the one vocabulary that all protocols share."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BUSY = "busy"
    UNAUTHORISED = "unauthorised"
    REFUSED = "refused"
    MISCONFIGURED = "misconfigured"
    UNEXPECTED = "unexpected"


class DeliveryError(CrossdockError):
    """A connection to a target failed.

    ``kind`` says what happened, ``temporary`` whether the same attempt may succeed later without
    anyone changing anything, ``retry_after`` the seconds that the peer asked for, if it did.
    ``detail`` is for people: what, which, and what to do. It never holds patient data or a secret.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str,
        *,
        temporary: bool,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.temporary = temporary
        self.retry_after = retry_after
