"""How a statement on storage commitment is taken from a peer, in either role (PS3.4 J.3)."""

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from crossdock.dicom import commitment, dimse
from crossdock.dicom.commitment import Report, Request, TooLarge
from crossdock.dicom.dimse import Command
from crossdock.dicom.status import Status
from crossdock.dicom.storage_handler import Caller
from crossdock.dicom.uids import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from crossdock.errors import DicomError, SpoolError


_log = structlog.get_logger(__name__)

_TYPES = {
    dimse.N_ACTION_RQ: ((commitment.REQUEST_ACTION,), Status.NO_SUCH_ACTION),
    dimse.N_EVENT_REPORT_RQ: (
        (commitment.ALL_COMMITTED, commitment.SOME_FAILED),
        Status.NO_SUCH_EVENT_TYPE,
    ),
}


class CommitmentHandler(Protocol):
    """Who answers requests for commitment, and takes reports on ours; called from many threads."""

    def takes_requests(self) -> bool:
        """Whether requests are taken at all; reports always are."""

    def requested(self, caller: Caller, request: Request) -> int:
        """Take a request and return the status to answer; with success it will be reported on."""

    def due(self, caller: Caller, transaction_uid: str) -> Report | None:
        """Return what can be reported over the requester's own association, None if nothing yet."""

    def answered(self, caller: Caller, transaction_uid: str, status: int) -> None:
        """Hear how the requester answered to a report over its own association."""

    def reported(self, caller: Caller, report: Report) -> int:
        """Take a report on what we asked for, and return the status to answer."""


def objection(command: Command, *, takes_requests: bool) -> Status:
    """Return why a command on commitment is refused before its dataset is read (PS3.7 10.1)."""
    if command.field not in _TYPES:
        return Status.UNRECOGNISED_OPERATION
    if command.field == dimse.N_ACTION_RQ and not takes_requests:
        return Status.SOP_CLASS_NOT_SUPPORTED
    if command.sop_class_uid != STORAGE_COMMITMENT:
        return Status.NO_SUCH_SOP_CLASS
    if command.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
        return Status.NO_SUCH_OBJECT_INSTANCE
    types, status = _TYPES[command.field]
    if command.type_id not in types:
        return status
    return Status.SUCCESS if command.has_dataset else Status.MISTYPED_ARGUMENT


class StatementWriter:
    """Gathers the dataset of a request or report, an ``InstanceWriter``.

    ``act`` is called with what it says, and returns the status to answer; ``acted`` after success.
    """

    def __init__(
        self, command: Command, transfer_syntax_uid: str, act: Callable[[Report], int]
    ) -> None:
        self._command = command
        self._transfer_syntax_uid = transfer_syntax_uid
        self._act = act
        self._data = bytearray()
        self.acted: Callable[[Report], None] = lambda _: None

    def write(self, chunks: Sequence[memoryview]) -> None:
        """Keep the next bytes, as far as a statement may be that long."""
        for chunk in chunks:
            self._data += chunk[: commitment.MAX_BYTES + 1 - len(self._data)]

    def commit(self) -> int:
        """Act on the statement and return the status to answer."""
        data, self._data = bytes(self._data), bytearray()
        try:
            report = commitment.decode_report(data, self._transfer_syntax_uid)
        except TooLarge:
            return Status.RESOURCE_LIMITATION
        except DicomError:
            return Status.INVALID_ARGUMENT_VALUE
        try:
            status = self._act(report)
        except (OSError, SpoolError) as error:  # A700, as for an instance, is no answer here
            _log.error("commitment.not_kept", reason=str(error))
            return Status.PROCESSING_FAILURE
        if status == Status.SUCCESS:
            self.acted(report)
        return status

    def discard(self) -> None:
        """Forget the statement."""
        self._data.clear()


def hearing(
    handler: CommitmentHandler, caller: Caller, command: Command, transfer_syntax_uid: str
) -> StatementWriter:
    """Return what takes the dataset of a command without objection to ``handler``."""

    def act(statement: Report) -> int:
        if command.field == dimse.N_EVENT_REPORT_RQ:
            return handler.reported(caller, statement)
        if not statement.committed:
            return Status.INVALID_ARGUMENT_VALUE
        return handler.requested(caller, Request(statement.transaction_uid, statement.committed))

    return StatementWriter(command, transfer_syntax_uid, act)
