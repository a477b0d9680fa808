"""What the end of an association says of a target, and what to do about it."""

from collections.abc import Callable
from typing import TypeVar

from crossdock.dicom.errors import (
    AssociationAborted,
    AssociationRejected,
    NoAcceptedContext,
    PeerTimeout,
    PeerUnreachable,
    ProtocolError,
    TlsFailed,
    TlsMisconfigured,
)
from crossdock.errors import DeliveryError, DicomError, ErrorKind, SpoolError
from crossdock.protocols.stages import StageFailed


T = TypeVar("T")

_CALLING_NOT_RECOGNISED = (1, 3)  # source and reason: PS3.8 table 9-21
_PRESENTATION = 3  # source: PS3.8 table 9-21

ADVICE = {
    ErrorKind.UNREACHABLE: "is the peer running, and are host, port and firewall right?",
    ErrorKind.TIMEOUT: "is the peer overloaded, or does a firewall drop what is sent?",
    ErrorKind.BUSY: "the peer has no room now; try later",
    ErrorKind.UNAUTHORISED: "have the peer accept our calling AE title from this address",
    ErrorKind.MISCONFIGURED: "compare called AE title, host and port with the peer's settings",
    ErrorKind.UNEXPECTED: "look at the peer's log",
}
_TLS_ADVICE = "compare certificates, CA, host name and TLS version with the peer's settings"
_FILES_ADVICE = "mend the files that the target's tls names, on the machine of the dispatcher"


def failure(error: DicomError | SpoolError) -> DeliveryError:
    """Return what an association's end says of the target."""
    kind, temporary = _kind(error)
    return DeliveryError(kind, str(error), temporary=temporary)


def explained(call: Callable[[], T]) -> T:
    """Call, and turn what the peer did wrong into a failed stage of a check.

    Raises:
        StageFailed: with what was found and what to do.
        NoAcceptedContext: as it comes, since that need not be a failure.
    """
    try:
        return call()
    except NoAcceptedContext:
        raise
    except DicomError as error:
        found = failure(error)
        raise StageFailed(found.detail, _advice(error, found.kind)) from error


def _advice(error: DicomError, kind: ErrorKind) -> str:
    if isinstance(error, TlsFailed):
        return _TLS_ADVICE
    return _FILES_ADVICE if isinstance(error, TlsMisconfigured) else ADVICE[kind]


def _kind(error: DicomError | SpoolError) -> tuple[ErrorKind, bool]:
    match error:
        case AssociationRejected():
            return _rejection(error)
        case TlsFailed() | TlsMisconfigured():
            return ErrorKind.MISCONFIGURED, False
        case PeerUnreachable() | AssociationAborted():
            return ErrorKind.UNREACHABLE, True
        case PeerTimeout():
            return ErrorKind.TIMEOUT, True
        case ProtocolError():  # something else listens there, or the peer is broken
            return ErrorKind.MISCONFIGURED, False
        case _:
            return ErrorKind.UNEXPECTED, False


def _rejection(error: AssociationRejected) -> tuple[ErrorKind, bool]:
    if error.temporary or error.source == _PRESENTATION:
        return ErrorKind.BUSY, True
    if (error.source, error.reason) == _CALLING_NOT_RECOGNISED:
        return ErrorKind.UNAUTHORISED, False
    return ErrorKind.MISCONFIGURED, False
