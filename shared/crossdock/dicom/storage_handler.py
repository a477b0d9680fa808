"""What the storage SCP asks of whoever keeps the instances: the seam to the receiver."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from crossdock.dicom.negotiation import Rejection
from crossdock.dicom.status import Status
from crossdock.errors import SpoolError


T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who an association is with. ``association`` is unique to it; the address is the peer's.

    ``certificate`` are the names in the certificate that the peer proved to own over TLS.
    """

    association: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    port: int
    certificate: tuple[str, ...] = ()


class InstanceWriter(Protocol):
    """Where one instance goes. It is used by one thread, and its last call is commit or discard.

    ``OSError`` and ``SpoolError`` from ``write`` or ``commit`` are answered with A700, any other
    exception with 0110; the association goes on in both cases, and ``discard`` is called.
    """

    def write(self, chunks: Sequence[memoryview]) -> None:
        """Take the next bytes of the dataset, at most 512 pieces, which are valid until return."""

    def commit(self) -> int:
        """Make the instance durable and return the status to answer."""

    def discard(self) -> None:
        """Forget the instance: the association broke, or writing failed."""


class StorageHandler(Protocol):
    """Who decides about associations and keeps instances; called from many threads at once."""

    def admit(self, caller: Caller) -> Rejection | None:
        """Say why an association must not be accepted, or None to accept it."""

    def begin(
        self, caller: Caller, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> InstanceWriter:
        """Open a writer for an instance that is about to come.

        Raises:
            SpoolError: it cannot be kept; the peer gets A700 and the association goes on.
        """

    def ended(self, caller: Caller) -> None:
        """Hear that an admitted association is over, exactly once, however it ended."""


def guarded(event: str, call: Callable[[], T]) -> tuple[T | None, Status]:
    """Call into a handler or writer: its result, or None and the status that its failure means.

    A failure is logged as ``event``. A spool that cannot keep an instance now is A700; anything
    else is the handler's bug, is logged with its traceback, and is 0110.
    """
    try:
        return call(), Status.SUCCESS
    except (OSError, SpoolError) as error:
        _log.warning(event, reason=str(error))
        return None, Status.OUT_OF_RESOURCES
    except Exception:  # noqa: BLE001 — a handler's bug is answered, and the association kept
        _log.exception(event)
        return None, Status.PROCESSING_FAILURE
