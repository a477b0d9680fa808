"""The storage SCU: one association that stores files and verifies (PS3.4 annexes B and A)."""

import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from crossdock.dicom import associate, dimse, pdu
from crossdock.dicom.associate import Associate, Context, UserInformation
from crossdock.dicom.connection import Connection, describe
from crossdock.dicom.errors import (
    AbortReason,
    AssociationAborted,
    AssociationRejected,
    NoAcceptedContext,
    PeerTimeout,
    PeerUnreachable,
    ProtocolError,
    TlsEnded,
    TlsFailed,
)
from crossdock.dicom.part10 import FileMeta
from crossdock.dicom.pdu import Fragment, Pdu
from crossdock.dicom.reception import CommandBuffer
from crossdock.dicom.sending import DatasetSender
from crossdock.dicom.tls import PeerCertificate
from crossdock.dicom.uids import VERIFICATION
from crossdock.errors import CrossdockError, SpoolError
from crossdock.faults import reached
from crossdock.pace import UNLIMITED, Pace


_log = structlog.get_logger(__name__)

MAX_CONTEXTS = 128
_MAX_MESSAGE_ID = 0xFFFF
_LAST_ANSWERS = 1.0  # seconds to look for answers after a connection broke
_ABORT_SOURCES = {0: "the peer's user", 2: "the peer's upper layer"}


class StorageScu:
    """One association with a peer that stores.

    As a context manager it releases the association at the end, and aborts it after an
    exception. Times are seconds: to connect, for the answer to the association request, and
    without progress in a message. ``window`` is how many instances may be under way where the
    peer grants that; their bytes keep to ``pace``. ``abort`` may be called from another thread; all else belongs to one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        called_ae_title: str,
        calling_ae_title: str,
        max_pdu: int = 131072,
        connect_timeout: float = 10.0,
        acse_timeout: float = 30.0,
        dimse_timeout: float = 60.0,
        window: int = 16,
        tls: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        pace: Pace = UNLIMITED,
    ) -> None:
        self._host = host
        self._port = port
        self._called_ae_title = called_ae_title
        self._calling_ae_title = calling_ae_title
        self._max_pdu = max_pdu
        self._connect_timeout = connect_timeout
        self._acse_timeout = acse_timeout
        self._dimse_timeout = dimse_timeout
        self._wanted_window = window
        self._tls = tls
        self._server_hostname = server_hostname
        self._pace = pace
        self._connection: Connection | None = None
        self._sender: DatasetSender | None = None
        self._contexts: dict[tuple[str, str], int] = {}
        self._window = 1
        self._max_data = 0
        self._message_id = 0
        self._command = CommandBuffer()
        self._answers: dict[int, int] = {}
        self._associated = False

    def connect(self) -> None:
        """Connect; ``associate`` does it if this was not called.

        Raises:
            PeerUnreachable: the name or the connection failed; ``stage`` says which.
            PeerTimeout: there was no connection in time.
        """
        sock = _connected(self._host, self._port, self._connect_timeout)
        self._connection = Connection(sock, self._max_pdu)

    def secure(self) -> None:
        """Begin TLS if it is set; ``associate`` does it if this was not called.

        Raises:
            TlsFailed: the two do not agree about certificates, names or versions.
            PeerUnreachable, PeerTimeout: the connection was lost, or took too long.
        """
        connection = self._talk()
        if self._tls is not None and not connection.encrypted:
            hostname = self._server_hostname or self._host
            connection.secure(self._tls, self._acse_timeout, hostname)

    @property
    def certificate(self) -> PeerCertificate | None:
        """The peer's certificate, None without TLS."""
        return self._talk().certificate

    @property
    def cipher(self) -> str:
        """The TLS version and cipher suite, empty without TLS."""
        return self._talk().cipher

    def associate(self, contexts: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Request an association. Each context is a SOP class and its transfer syntaxes.

        Contexts that the peer does not accept are no error: ask ``accepted``.

        Raises:
            PeerUnreachable, PeerTimeout: as ``connect``, or there was no answer.
            AssociationRejected: the peer said no.
            AssociationAborted: the peer ended it instead.
            ProtocolError: the peer's answer is not DICOM.
            ValueError: there are no contexts, or more than 128.
        """
        if not 0 < len(contexts) <= MAX_CONTEXTS:
            raise ValueError(f"{len(contexts)} presentation contexts: 1 to {MAX_CONTEXTS} can be")
        if self._connection is None:
            self.connect()
        self.secure()
        request = self._request(contexts)
        body = associate.encode_request(request)
        try:
            self._talk().send(pdu.encode(pdu.ASSOCIATE_RQ, body), self._acse_timeout)
            answer = self._await(pdu.ASSOCIATE_AC, self._acse_timeout, "answer to the association")
        except TlsEnded as error:  # in TLS 1.3 a client hears only now what the server thinks of it
            raise TlsFailed(error.words) from None
        self._agree(request, associate.decode(answer.body))

    def accepted(self, sop_class_uid: str, transfer_syntax_uid: str) -> bool:
        """Whether the peer takes instances of a SOP class in a transfer syntax."""
        return (sop_class_uid, transfer_syntax_uid) in self._contexts

    @property
    def window(self) -> int:
        """How many instances may be under way before the first is answered."""
        return self._window

    @property
    def idle(self) -> bool:
        """Whether there is an association and the peer has said nothing that was not asked for.

        Between two operations that can only be its end: a release, an abort, a closed connection.
        """
        return self._associated and self._talk().quiet

    def echo(self) -> int:
        """Verify the association with a C-ECHO and return its status (PS3.4 A).

        Raises:
            NoAcceptedContext: Verification was not proposed, or not accepted.
            AssociationAborted, PeerTimeout, ProtocolError: the association is over.
        """
        context_id, _ = self._context_for(VERIFICATION)
        message_id = self._next_message_id()
        command = dimse.echo_request(message_id, VERIFICATION)
        data = pdu.encode_command(context_id, command, self._max_data)
        with self._ending_when_broken():
            self._talk().send(data, self._dimse_timeout)
        return self._answer_to(message_id, self._dimse_timeout)

    def store(
        self, path: Path, meta: FileMeta, *, move_originator: tuple[str, int] | None = None
    ) -> int:
        """Store a file and return the status that the peer answered (PS3.4 B.2.3).

        The dataset is sent as it lies in the file. ``move_originator`` is the AE title and the
        message number of the C-MOVE that this belongs to.

        Raises:
            NoAcceptedContext: there is no context for it; the association goes on.
            SpoolError: the file cannot be read.
            AssociationAborted, PeerTimeout, ProtocolError: the association is over.
        """
        return self._answer_to(self._offer(path, meta, move_originator), self._dimse_timeout)

    def store_many(
        self,
        files: Iterable[tuple[Path, FileMeta]],
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[int]:
        """Store files, as many at once as the peer granted, and yield their statuses in order.

        Once it is ``enough`` no further file is offered; those under way are answered yet.

        Raises:
            The same as ``store``, after the statuses of all files that were answered before.
        """
        waiting: deque[int] = deque()
        try:
            for path, meta in files:
                if len(waiting) >= self._window:
                    yield self._answer_to(waiting.popleft(), self._dimse_timeout)
                    if enough():
                        break
                waiting.append(self._offer(path, meta, None))
                reached("dispatcher.instance_sent")
        except (AssociationAborted, PeerTimeout, ProtocolError):
            yield from self._last_answers(waiting)
            raise
        except CrossdockError:
            yield from self._remaining(waiting)
            raise
        yield from self._remaining(waiting)

    def release(self) -> None:
        """Release the association and close. What the peer answers to that is of no interest."""
        if self._associated and self._connection is not None:
            self._associated = False
            try:
                self._connection.send(pdu.encode_short(pdu.RELEASE_RQ), self._acse_timeout)
                self._await(pdu.RELEASE_RP, self._acse_timeout, "answer to the release")
            except (AssociationAborted, AssociationRejected, PeerTimeout, ProtocolError) as error:
                _log.debug("association.release_failed", reason=str(error))
        self.close()

    def abort(self) -> None:
        """Abort the association at once; a call that waits in another thread fails."""
        connection, self._associated = self._connection, False
        if connection is not None:
            connection.say(pdu.ABORT)
            connection.break_off()

    def close(self) -> None:
        """Close the connection, aborting what is still associated. Closing twice is fine."""
        if self._associated:
            self.abort()
        if self._connection is not None:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.release()
        else:
            self.close()

    def _request(self, contexts: Sequence[tuple[str, Sequence[str]]]) -> Associate:
        window = (self._wanted_window, 1) if self._wanted_window > 1 else None
        return Associate(
            called=associate.write_ae_title(self._called_ae_title),
            calling=associate.write_ae_title(self._calling_ae_title),
            contexts=tuple(
                Context(2 * index + 1, sop_class_uid, tuple(transfer_syntax_uids))
                for index, (sop_class_uid, transfer_syntax_uids) in enumerate(contexts)
            ),
            user=UserInformation(max_length=self._max_pdu, window=window),
        )

    def _agree(self, request: Associate, answer: Associate) -> None:
        proposed = {context.id: context.abstract_syntax for context in request.contexts}
        for context in answer.contexts:
            if context.result == associate.ACCEPTANCE and context.id in proposed:
                for uid in context.transfer_syntaxes[:1]:
                    self._contexts.setdefault((proposed[context.id], uid), context.id)
        invoked = answer.user.window[0] if answer.user.window else 1
        self._window = min(invoked or self._wanted_window, self._wanted_window) or 1
        self._max_data = pdu.max_data(answer.user.max_length, self._max_pdu)
        self._sender = DatasetSender(self._talk(), self._max_data, self._dimse_timeout, self._pace)
        self._associated = True

    def _offer(self, path: Path, meta: FileMeta, move_originator: tuple[str, int] | None) -> int:
        context_id = self._contexts.get((meta.sop_class_uid, meta.transfer_syntax_uid))
        if context_id is None or self._sender is None:
            raise NoAcceptedContext(meta.sop_class_uid, meta.transfer_syntax_uid)
        message_id = self._next_message_id()
        command = pdu.encode_command(
            context_id,
            dimse.store_request(
                message_id, meta.sop_class_uid, meta.sop_instance_uid, move_originator
            ),
            self._max_data,
        )
        file = _open(path)
        try:
            end = os.fstat(file).st_size
            with self._ending_when_broken():
                self._sender.send(command, context_id, file, meta.dataset_offset, end)
        finally:
            os.close(file)
        return message_id

    def _remaining(self, waiting: deque[int]) -> Iterator[int]:
        while waiting:
            yield self._answer_to(waiting.popleft(), self._dimse_timeout)

    def _last_answers(self, waiting: deque[int]) -> Iterator[int]:
        while waiting:
            try:
                yield self._answer_to(waiting.popleft(), _LAST_ANSWERS)
            except (AssociationAborted, PeerTimeout, ProtocolError):
                return

    def _answer_to(self, message_id: int, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while message_id not in self._answers:
            left = deadline - time.monotonic()
            if left <= 0:
                self.abort()
                raise PeerTimeout("response", seconds)
            with self._ending_when_broken():
                for item in self._talk().receive(left, "response"):
                    self._take(item)
        return self._answers.pop(message_id)

    def _take(self, item: Fragment | Pdu) -> None:
        if not isinstance(item, Fragment):
            raise self._unexpected(item)
        command = self._command.add(item)
        if command is not None:
            self._answers[command.responded_to] = command.status

    @contextmanager
    def _ending_when_broken(self) -> Iterator[None]:
        """Abort what cannot go on, so that nobody waits for the answer to a release later."""
        try:
            yield
        except (AssociationAborted, PeerTimeout, ProtocolError, SpoolError):
            self.abort()
            raise

    def _await(self, kind: int, seconds: float, waited_for: str) -> Pdu:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for item in self._talk().receive(left, waited_for):
                if isinstance(item, Pdu) and item.type == kind:
                    return item
                aborted = isinstance(item, Pdu) and item.type == pdu.ABORT
                if aborted or kind != pdu.RELEASE_RP:
                    raise self._unexpected(item)
                if isinstance(item, Pdu) and item.type == pdu.RELEASE_RQ:  # both asked at once
                    self._talk().say(pdu.RELEASE_RP)
        raise PeerTimeout(waited_for, seconds)

    def _unexpected(self, item: Fragment | Pdu) -> Exception:
        if isinstance(item, Pdu):
            if item.type == pdu.ASSOCIATE_RJ:
                return AssociationRejected(item.body[1], item.body[2], item.body[3])
            if item.type == pdu.ABORT:
                source, reason = item.body[2], item.body[3]
                words = f"by {_ABORT_SOURCES.get(source, 'the peer')} (reason {reason})"
                return AssociationAborted(words, source, reason)
            if item.type == pdu.RELEASE_RQ:
                self._talk().say(pdu.RELEASE_RP)
                return AssociationAborted("the peer released it while there was work")
        return ProtocolError(AbortReason.UNEXPECTED_PDU, "an unexpected PDU from the peer")

    def _context_for(self, sop_class_uid: str) -> tuple[int, str]:
        """Return the context of a SOP class that has only one, and its transfer syntax."""
        for (accepted, transfer_syntax_uid), context_id in self._contexts.items():
            if accepted == sop_class_uid:
                return context_id, transfer_syntax_uid
        raise NoAcceptedContext(sop_class_uid, "any")

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % _MAX_MESSAGE_ID + 1
        return self._message_id

    def _talk(self) -> Connection:
        if self._connection is None:
            raise AssociationAborted("there is no connection")
        return self._connection


def _connected(host: str, port: int, seconds: float) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        words = describe(error) if isinstance(error, OSError) else "not a host name"
        raise PeerUnreachable("resolve", f"{host}: {words}") from None
    deadline = time.monotonic() + seconds
    failure: Exception = PeerUnreachable("resolve", f"{host}: no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(deadline - time.monotonic(), 0.1))
            sock.connect(address)
        except TimeoutError:
            failure = PeerTimeout(f"connection to {host} port {port}", seconds)
        except OSError as error:
            failure = PeerUnreachable("connect", f"{host} port {port}: {describe(error)}")
        else:
            return sock
        sock.close()
    raise failure


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SpoolError(f"cannot open {path.name}: {describe(error)}") from None
