"""What one association of the SCP has to say about storage commitment besides answers."""

from crossdock.dicom import associate, commitment_scu, dimse, pdu
from crossdock.dicom.commitment_handler import (
    CommitmentHandler,
    StatementWriter,
    hearing,
    objection,
)
from crossdock.dicom.dimse import Command
from crossdock.dicom.negotiation import Commitment
from crossdock.dicom.status import Status
from crossdock.dicom.storage_handler import Caller, guarded


REPORT_SECONDS = 1.0
"""How long a requester that wants its report over an association of its own has to release."""


class CommitmentTalk:
    """Takes requests and reports of an association, and says what to report over it.

    A requester that does not release its association soon after it was answered waits for the
    report over it; one that does gets it over an association of ours.
    """

    def __init__(self, handler: CommitmentHandler | None) -> None:
        self._handler = handler
        self._owed: list[tuple[int, str, str]] = []
        self._told: dict[int, str] = {}
        self._message_id = 0

    @property
    def roles(self) -> Commitment:
        """Which roles to accept."""
        handler = self._handler
        if handler is None:
            return Commitment()
        return Commitment(answers=handler.takes_requests(), hears=True)

    @property
    def owes(self) -> bool:
        """Whether there may be something to report over this association."""
        return bool(self._owed)

    def open(
        self, caller: Caller, command: Command, context: associate.Context
    ) -> tuple[StatementWriter | None, int]:
        """Return what takes the dataset of a command, or None and the status to answer."""
        handler = self._handler
        if handler is None:
            return None, Status.UNRECOGNISED_OPERATION
        status = objection(command, takes_requests=handler.takes_requests())
        if status:
            return None, status
        syntax = context.transfer_syntaxes[0]
        writer = hearing(handler, caller, command, syntax)
        if command.field == dimse.N_ACTION_RQ:
            writer.acted = lambda report: self._owed.append(
                (context.id, syntax, report.transaction_uid)
            )
        return writer, Status.SUCCESS

    def messages(self, caller: Caller, max_data: int) -> list[bytes]:
        """Return the reports that can be sent now, as PDUs; what is left is reported otherwise."""
        owed, self._owed = self._owed, []
        found = (self._message(caller, *each, max_data) for each in owed)
        return [each for each in found if each]

    def answered(self, caller: Caller, command: Command) -> bool:
        """Take a response; return whether it is one to a report of ours."""
        transaction = self._told.pop(command.responded_to, None)
        handler = self._handler
        if transaction is None or handler is None:
            return False
        guarded(
            "commitment.answered_failed",
            lambda: handler.answered(caller, transaction, command.status),
        )
        return True

    def _message(
        self, caller: Caller, context_id: int, syntax: str, transaction: str, max_data: int
    ) -> bytes:
        handler = self._handler
        if handler is None:
            return b""
        report, _ = guarded("commitment.due_failed", lambda: handler.due(caller, transaction))
        if report is None:
            return b""
        self._message_id += 1
        self._told[self._message_id] = transaction
        command, dataset = commitment_scu.report_message(self._message_id, report, syntax)
        return pdu.encode_command(context_id, command, max_data) + pdu.encode_dataset(
            context_id, dataset, max_data
        )
