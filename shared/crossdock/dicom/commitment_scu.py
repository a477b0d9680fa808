"""Associations of ours about storage commitment: one that asks, one that reports (PS3.4 J.3)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from crossdock.dicom import commitment, dimse, pdu
from crossdock.dicom.associate import Associate, Role
from crossdock.dicom.commitment import Report, Request
from crossdock.dicom.commitment_handler import StatementWriter, objection
from crossdock.dicom.errors import PeerTimeout
from crossdock.dicom.pdu import Fragment, Pdu
from crossdock.dicom.reception import Reception
from crossdock.dicom.storage_scu import StorageScu
from crossdock.dicom.uids import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE


PROPOSAL: list[tuple[str, tuple[str, ...]]] = [(STORAGE_COMMITMENT, commitment.SYNTAXES)]
"""The presentation context to associate with."""

Keep = Callable[[Report], int]
"""Makes a report safe and returns the status to answer."""


class _Stating(StorageScu):
    def begin(self) -> None:
        """Associate for what is to be said.

        Raises:
            NoAcceptedContext: the peer does not take part in commitment.
            DicomError: as ``associate``.
        """
        self.associate(PROPOSAL)
        self._context_for(STORAGE_COMMITMENT)

    def _say(self, command: bytes, dataset: bytes) -> None:
        """Send a command and its dataset over the context of commitment."""
        context_id, _ = self._context_for(STORAGE_COMMITMENT)
        data = pdu.encode_command(context_id, command, self._max_data)
        data += pdu.encode_dataset(context_id, dataset, self._max_data)
        with self._ending_when_broken():
            self._talk().send(data, self._dimse_timeout)


class CommitmentUser(_Stating):
    """Asks a peer for commitment, and hears its report if that comes over the same association."""

    _keep: Keep | None = None
    _reception: Reception | None = None
    _heard = 0

    def request(self, request: Request, keep: Keep) -> int:
        """Ask, and return the status that the peer answered; ``keep`` takes what it reports.

        Raises:
            NoAcceptedContext: the peer takes no requests.
            AssociationAborted, PeerTimeout, ProtocolError: the association is over.
        """
        self._keep = keep
        _, syntax = self._context_for(STORAGE_COMMITMENT)
        message_id = self._next_message_id()
        command = dimse.action_request(
            message_id, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, commitment.REQUEST_ACTION
        )
        self._say(command, commitment.encode_request(request, syntax))
        return self._answer_to(message_id, self._dimse_timeout)

    def await_report(self, seconds: float) -> bool:
        """Wait for a report, and return whether one came.

        Raises:
            AssociationAborted, ProtocolError: the association is over.
        """
        deadline = time.monotonic() + seconds
        while not self._heard and (left := deadline - time.monotonic()) > 0:
            try:
                items = self._talk().receive(left, "report")
            except PeerTimeout:
                break
            for item in items:
                self._take(item)
        return bool(self._heard)

    def _take(self, item: Fragment | Pdu) -> None:
        if not isinstance(item, Fragment):
            raise self._unexpected(item)
        if self._reception is not None:
            if self._reception.add(item):
                self._answer(self._reception)
            else:
                self._reception.flush()
            return
        command = self._command.add(item)
        if command is None:
            return
        if command.field & dimse.RESPONSE:
            self._answers[command.responded_to] = command.status
            return
        status = objection(command, takes_requests=False)
        writer = None if status or self._keep is None else self._writer(command, self._keep)
        self._reception = Reception(command, item.context_id, writer, status)
        if not command.has_dataset:
            self._answer(self._reception)

    def _writer(self, command: dimse.Command, keep: Keep) -> StatementWriter:
        return StatementWriter(command, self._context_for(STORAGE_COMMITMENT)[1], keep)

    def _answer(self, reception: Reception) -> None:
        self._reception = None
        status = reception.finish()
        response = dimse.response(reception.command, status)
        data = pdu.encode_command(reception.context_id, response, self._max_data)
        self._talk().send(data, self._dimse_timeout)
        self._heard += not status


class CommitmentReporter(_Stating):
    """Reports to a peer on what it asked for, in the role of the provider (PS3.7 D.3.3.4)."""

    def report(self, report: Report) -> int:
        """Report, and return the status that the peer answered.

        Raises:
            NoAcceptedContext: the peer takes no reports.
            AssociationAborted, PeerTimeout, ProtocolError: the association is over.
        """
        _, syntax = self._context_for(STORAGE_COMMITMENT)
        message_id = self._next_message_id()
        command, dataset = report_message(message_id, report, syntax)
        self._say(command, dataset)
        return self._answer_to(message_id, self._dimse_timeout)

    def _request(self, contexts: Sequence[tuple[str, Sequence[str]]]) -> Associate:
        request = super()._request(contexts)
        role = Role(STORAGE_COMMITMENT, scu=False, scp=True)
        return replace(request, user=replace(request.user, roles=(role,)))


def report_message(message_id: int, report: Report, syntax: str) -> tuple[bytes, bytes]:
    """Return the command and the dataset of an N-EVENT-REPORT-RQ."""
    command = dimse.event_report_request(
        message_id, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, report.event
    )
    return command, commitment.encode_report(report, syntax)
