"""One association of the storage SCP, from the connection to its end, in a thread of its own."""

import socket
import threading
import time
from dataclasses import dataclass

import structlog

from crossdock.dicom import associate, dimse, negotiation, pdu
from crossdock.dicom.associate import Associate
from crossdock.dicom.commitment_handler import CommitmentHandler
from crossdock.dicom.commitment_talk import REPORT_SECONDS, CommitmentTalk
from crossdock.dicom.connection import Connection
from crossdock.dicom.errors import (
    AbortReason,
    AssociationAborted,
    PeerTimeout,
    PeerUnreachable,
    ProtocolError,
)
from crossdock.dicom.negotiation import Rejection
from crossdock.dicom.pdu import Fragment, Pdu
from crossdock.dicom.reception import CommandBuffer, Reception
from crossdock.dicom.status import Status, is_warning
from crossdock.dicom.storage_handler import Caller, InstanceWriter, StorageHandler, guarded
from crossdock.dicom.tls import ContextSource
from crossdock.dicom.uids import STORAGE_COMMITMENT
from crossdock.errors import DicomError
from crossdock.faults import reached
from crossdock.model import new_id


_log = structlog.get_logger(__name__)


class _Stopping(DicomError):  # noqa: N818 — a reason to end, not an error
    """The SCP is being stopped, and this association has nothing in work."""


_USER = 0  # source of an A-ABORT (PS3.8 table 9-26)
_PROVIDER = 2
_LINGER = 2.0
_READ_AHEAD = 144 * 1024
"""Read at once beside a whole PDU: one more. With 400 KB, data leaves the processor's cache."""

_MAX_UID_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What an association may take: PDU length in bytes, times in seconds."""

    max_pdu: int
    acse_timeout: float
    dimse_timeout: float
    idle_timeout: float


class ScpAssociation:
    """Serves one connection: ``run`` returns when it is over, and raises nothing.

    ``accepted`` says whether there is an association now. It takes one of ``slots`` while there is.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: tuple[str, int],
        handler: StorageHandler,
        *,
        limits: Limits,
        slots: threading.Semaphore,
        tls: ContextSource | None,
        commitment: CommitmentHandler | None = None,
    ) -> None:
        self.accepted = False
        self._slots = slots
        self._address = address
        self._handler = handler
        self._limits = limits
        self._tls = tls
        self._commitment = CommitmentTalk(commitment)
        self._connection = Connection(sock, limits.max_pdu)
        self._caller: Caller | None = None
        self._contexts: dict[int, associate.Context] = {}
        self._max_data = 0
        self._command = CommandBuffer()
        self._reception: Reception | None = None
        self._idle = False
        self._stopping = False
        self._instances = 0

    def run(self) -> None:
        """Serve the association to its end, and close the connection."""
        outcome = "rejected"
        try:
            self._secure()
            if self._associate():
                outcome = self._serve()
        except (PeerTimeout, _Stopping) as error:
            outcome = self._abort(_USER, AbortReason.NOT_SPECIFIED, str(error))
        except ProtocolError as error:
            source = _PROVIDER if self.accepted else _USER
            reason = error.reason if self.accepted else AbortReason.NOT_SPECIFIED
            outcome = self._abort(source, reason, str(error))
        except (AssociationAborted, PeerUnreachable) as error:
            outcome = str(error)
        except Exception:  # noqa: BLE001 — outermost: a bug ends this association only
            _log.exception("association.failed", address=self._address[0])
            outcome = self._abort(_USER, AbortReason.NOT_SPECIFIED, "internal error")
        finally:
            self._end(outcome)

    def stop(self) -> None:
        """Ask for an end after the current instance. Safe from any thread."""
        self._stopping = True
        if self._idle:
            self._connection.interrupt()

    def break_off(self) -> None:
        """End at once. Safe from any thread."""
        self._stopping = True
        self._connection.break_off()

    def _secure(self) -> None:
        if self._tls is not None:
            self._connection.secure(self._tls(), self._limits.acse_timeout)

    def _associate(self) -> bool:
        request = self._request()
        certificate = self._connection.certificate
        caller = Caller(
            association=new_id(),
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            address=self._address[0],
            port=self._address[1],
            certificate=certificate.names if certificate else (),
        )
        rejection = negotiation.objection(request) or self._admit(caller)
        if rejection is not None:
            self._reject(caller, rejection)
            return False
        self._accept(request)
        return True

    def _request(self) -> Associate:
        deadline = time.monotonic() + self._limits.acse_timeout  # the ARTIM timer (PS3.8 9.1.4)
        items: list[Fragment | Pdu] = []
        while not items:
            left = deadline - time.monotonic()
            if left <= 0:
                raise PeerTimeout("association request", self._limits.acse_timeout)
            items = self._connection.receive(left, "association request")
        first, *others = items
        if not isinstance(first, Pdu) or first.type != pdu.ASSOCIATE_RQ or others:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU, "no association request")
        return associate.decode(first.body)

    def _admit(self, caller: Caller) -> Rejection | None:
        if not self._slots.acquire(blocking=False):
            return negotiation.LOCAL_LIMIT_EXCEEDED
        rejection, failure = guarded(
            "association.admit_failed", lambda: self._handler.admit(caller)
        )
        if failure:
            rejection = negotiation.TEMPORARILY_NO_REASON_GIVEN
        if rejection is None:
            self._caller = caller
            self.accepted = True
        else:
            self._slots.release()
        return rejection

    def _reject(self, caller: Caller, rejection: Rejection) -> None:
        self._connection.say(pdu.ASSOCIATE_RJ, rejection.result, rejection.source, rejection.reason)
        _log.warning(
            "association.rejected",
            calling_ae_title=caller.calling_ae_title,
            called_ae_title=caller.called_ae_title,
            address=caller.address,
            result=rejection.result,
            source=rejection.source,
            reason=rejection.reason,
        )

    def _accept(self, request: Associate) -> None:
        limits = self._limits
        answer = negotiation.answer(request, limits.max_pdu, self._commitment.roles)
        self._contexts = {
            context.id: context
            for context in answer.contexts
            if context.result == associate.ACCEPTANCE
        }
        self._max_data = pdu.max_data(request.user.max_length, limits.max_pdu)
        self._connection.enlarge(limits.max_pdu + _READ_AHEAD)
        body = associate.encode_answer(answer)
        self._connection.send(pdu.encode(pdu.ASSOCIATE_AC, body), limits.acse_timeout)
        _log.info(
            "association.accepted",
            association=self._caller and self._caller.association,
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            address=self._address[0],
            contexts=len(self._contexts),
            implementation=request.user.implementation_version_name,
        )

    def _serve(self) -> str:
        while True:
            for item in self._receive():
                if isinstance(item, Fragment):
                    self._take(item)
                elif item.type == pdu.RELEASE_RQ:
                    self._connection.say(pdu.RELEASE_RP)
                    return "released"
                elif item.type == pdu.ABORT:
                    return "aborted by the peer"
                else:
                    raise ProtocolError(
                        AbortReason.UNEXPECTED_PDU, f"a PDU of type {item.type:02X}"
                    )
            if self._reception is not None:
                self._reception.flush()

    def _receive(self) -> list[Fragment | Pdu]:
        between = self._reception is None and not self._command
        self._idle = between
        if self._stopping and between:
            raise _Stopping("stopping")
        try:
            if between and self._commitment.owes:
                return self._receive_or_report()
            if between:
                return self._connection.receive(self._limits.idle_timeout, "message")
            return self._connection.receive(self._limits.dimse_timeout, "rest of a message")
        except AssociationAborted:
            if self._stopping and between:
                raise _Stopping("stopping") from None
            raise
        finally:
            self._idle = False

    def _receive_or_report(self) -> list[Fragment | Pdu]:
        """Return what comes next; report on commitment if the peer waits for that."""
        try:
            return self._connection.receive(REPORT_SECONDS, "message")
        except PeerTimeout:
            pass
        for message in self._commitment.messages(self._known_caller(), self._max_data):
            self._connection.send(message, self._limits.dimse_timeout)
        return []

    def _take(self, fragment: Fragment) -> None:
        context = self._contexts.get(fragment.context_id)
        if context is None:
            raise ProtocolError(
                AbortReason.INVALID_PDU_PARAMETER, f"context {fragment.context_id} is not accepted"
            )
        if self._reception is not None:
            if self._reception.add(fragment):
                reception, status = self._reception, self._reception.finish()
                self._reception = None
                self._answer(reception.context_id, reception.command, status)
                reached("receiver.answered")
            return
        command = self._command.add(fragment)
        if command is not None:
            self._begin(command, context)

    def _begin(self, command: dimse.Command, context: associate.Context) -> None:
        if command.field & dimse.RESPONSE:
            if self._commitment.answered(self._known_caller(), command):
                return
            raise ProtocolError(AbortReason.UNEXPECTED_PDU_PARAMETER, "an answer to no question")
        writer: InstanceWriter | None
        if context.abstract_syntax == STORAGE_COMMITMENT:
            writer, status = self._commitment.open(self._known_caller(), command, context)
        elif command.field == dimse.C_STORE_RQ and command.has_dataset:
            writer, status = self._open(command, context)
        else:
            writer, status = None, _status_without_writer(command)
        if command.has_dataset:
            self._reception = Reception(command, context.id, writer, status)
        elif command.field != dimse.C_CANCEL_RQ:  # it has no response (PS3.7 9.3.2.3)
            self._answer(context.id, command, status)

    def _open(
        self, command: dimse.Command, context: associate.Context
    ) -> tuple[InstanceWriter | None, int]:
        if not _is_usable(command.sop_instance_uid):
            return None, Status.INVALID_SOP_INSTANCE
        sop_class_uid = command.sop_class_uid or context.abstract_syntax
        caller, transfer_syntax_uid = self._known_caller(), context.transfer_syntaxes[0]
        return guarded(
            "instance.begin_failed",
            lambda: self._handler.begin(
                caller, sop_class_uid, command.sop_instance_uid, transfer_syntax_uid
            ),
        )

    def _known_caller(self) -> Caller:
        if self._caller is None:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU, "a message before the association")
        return self._caller

    def _answer(self, context_id: int, command: dimse.Command, status: int) -> None:
        data = pdu.encode_command(context_id, dimse.response(command, status), self._max_data)
        self._connection.send(data, self._limits.dimse_timeout)
        stored = status == Status.SUCCESS or is_warning(status)
        self._instances += stored and command.field == dimse.C_STORE_RQ

    def _abort(self, source: int, reason: int, words: str) -> str:
        self._connection.say(pdu.ABORT, 0, source, reason)
        return f"aborted: {words}"

    def _end(self, outcome: str) -> None:
        if self._reception is not None:
            self._reception.discard()
        if self._caller is not None:
            self.accepted = False
            self._slots.release()
            self._tell_ended(self._caller, outcome)
        elif outcome != "rejected":
            _log.info("connection.closed", address=self._address[0], reason=outcome)
        self._connection.linger(0.1 if self._stopping else _LINGER)
        self._connection.close()

    def _tell_ended(self, caller: Caller, outcome: str) -> None:
        level = _log.info if outcome == "released" else _log.warning
        level(
            "association.ended",
            association=caller.association,
            outcome=outcome,
            instances=self._instances,
        )
        guarded("association.ended_failed", lambda: self._handler.ended(caller))


def _status_without_writer(command: dimse.Command) -> int:
    if command.field == dimse.C_ECHO_RQ:
        return Status.SUCCESS
    if command.field == dimse.C_STORE_RQ:
        return Status.CANNOT_UNDERSTAND  # a C-STORE-RQ that announces no dataset
    return Status.UNRECOGNISED_OPERATION


def _is_usable(sop_instance_uid: str) -> bool:
    """Whether it can name an instance; what is merely not a correct UID is forwarded as it is."""
    return (
        0 < len(sop_instance_uid) <= _MAX_UID_LENGTH
        and sop_instance_uid.isascii()
        and sop_instance_uid.replace(".", "").replace("-", "").replace("_", "").isalnum()
    )
