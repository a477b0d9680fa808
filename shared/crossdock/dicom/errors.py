"""How an association can fail, as its user sees it.

::

    DicomError
     ├── AssociationRejected   the peer answered, and said no
     ├── AssociationAborted    the peer or the network ended it
     │    └── TlsEnded         the peer's TLS did, with a reason
     ├── PeerUnreachable       there was never a connection
     │    └── TlsFailed        because the two do not agree about TLS
     ├── TlsMisconfigured      our own certificate, key or CA cannot be used
     ├── PeerTimeout           the peer did not answer, or stopped taking data
     ├── NoAcceptedContext     the peer does not take this SOP class in this transfer syntax
     └── ProtocolError         bytes that PS3.8 or PS3.7 do not allow
"""

from enum import IntEnum
from typing import Literal

from crossdock.errors import DicomError


class AbortReason(IntEnum):
    """Why the upper layer gives an association up (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNISED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER = 6


_REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given by the upper layer",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


class AssociationRejected(DicomError):  # noqa: N818 — reads as what happened
    """The peer rejected the association (PS3.8 9.3.4).

    ``temporary`` is what the peer said: the same request may be accepted later.
    """

    def __init__(self, result: int, source: int, reason: int) -> None:
        words = _REJECTIONS.get((source, reason), f"reason {reason}")
        super().__init__(
            f"association rejected: {words} (result {result}, source {source}, reason {reason})"
        )
        self.result = result
        self.source = source
        self.reason = reason
        self.words = words
        self.temporary = result != 1


class AssociationAborted(DicomError):  # noqa: N818 — reads as what happened
    """The association ended before its time: an A-ABORT (PS3.8 9.3.8) or a lost connection.

    ``source`` and ``reason`` are those of the A-ABORT, None where the connection just broke.
    """

    def __init__(self, words: str, source: int | None = None, reason: int | None = None) -> None:
        super().__init__(f"association aborted: {words}")
        self.source = source
        self.reason = reason


class PeerUnreachable(DicomError):  # noqa: N818 — reads as what happened
    """There is no connection; ``stage`` says how far it came."""

    def __init__(self, stage: Literal["resolve", "connect", "tls"], words: str) -> None:
        super().__init__(f"{stage}: {words}")
        self.stage = stage
        self.words = words


class TlsEnded(AssociationAborted):
    """The peer, or we, found fault with TLS after the handshake; ``words`` say what."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class TlsFailed(PeerUnreachable):
    """There is no TLS with the peer: a certificate, a name, a version. Somebody must mend it."""

    def __init__(self, words: str) -> None:
        super().__init__("tls", words)


class TlsMisconfigured(DicomError):  # noqa: N818 — reads as what happened
    """Our own certificate, key or CA cannot be used; the message says which file and why."""


class PeerTimeout(DicomError):  # noqa: N818 — reads as what happened
    """The peer did not answer within ``seconds``, or took no data for that long."""

    def __init__(self, waited_for: str, seconds: float) -> None:
        super().__init__(f"no {waited_for} within {seconds:g} s")
        self.seconds = seconds


class NoAcceptedContext(DicomError):  # noqa: N818 — reads as what happened
    """The peer accepted no presentation context for this SOP class and transfer syntax."""

    def __init__(self, sop_class_uid: str, transfer_syntax_uid: str) -> None:
        super().__init__(
            f"no accepted presentation context for SOP class {sop_class_uid}"
            f" in transfer syntax {transfer_syntax_uid}"
        )
        self.sop_class_uid = sop_class_uid
        self.transfer_syntax_uid = transfer_syntax_uid


class ProtocolError(DicomError):
    """The peer sent bytes that the standard does not allow; ``reason`` is for the A-ABORT."""

    def __init__(self, reason: AbortReason, words: str) -> None:
        super().__init__(words)
        self.reason = reason
