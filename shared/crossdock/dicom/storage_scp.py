"""The storage SCP: listens, and serves each association in a thread of its own.

It takes C-STORE and C-ECHO (PS3.4 annexes B and A). Memory per association is two PDUs, whatever
the size of an instance.
"""

import contextlib
import selectors
import socket
import threading
import time

import structlog

from crossdock.dicom.connection import describe
from crossdock.dicom.negotiation import (
    CALLED_AE_TITLE_NOT_RECOGNISED,
    CALLING_AE_TITLE_NOT_RECOGNISED,
    LOCAL_LIMIT_EXCEEDED,
    NO_REASON_GIVEN,
    TEMPORARILY_NO_REASON_GIVEN,
    TEMPORARY_CONGESTION,
    Rejection,
)
from crossdock.dicom.scp_association import Limits, ScpAssociation
from crossdock.dicom.storage_handler import Caller, InstanceWriter, StorageHandler
from crossdock.dicom.tls import ContextSource


__all__ = [
    "CALLED_AE_TITLE_NOT_RECOGNISED",
    "CALLING_AE_TITLE_NOT_RECOGNISED",
    "LOCAL_LIMIT_EXCEEDED",
    "NO_REASON_GIVEN",
    "TEMPORARILY_NO_REASON_GIVEN",
    "TEMPORARY_CONGESTION",
    "Caller",
    "InstanceWriter",
    "Rejection",
    "StorageHandler",
    "StorageScp",
]

_log = structlog.get_logger(__name__)

_BACKLOG = 1024
_MAX_SILENT = 64
"""Connections without an association that may exist at once; the oldest makes room for a new."""


class StorageScp:
    """A listening storage SCP that hands what it gets to ``handler``.

    ``max_pdu`` is bytes, all times are seconds: ``acse_timeout`` for the association request,
    ``dimse_timeout`` for progress within a message, ``idle_timeout`` between messages. More than
    ``max_associations`` are rejected as a temporary limit. With ``tls``, which is
    asked anew for each connection, every connection is TLS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handler: StorageHandler,
        *,
        max_pdu: int = 131072,
        max_associations: int = 100,
        acse_timeout: float = 30.0,
        dimse_timeout: float = 60.0,
        idle_timeout: float = 600.0,
        tls: ContextSource | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._handler = handler
        self._limits = Limits(max_pdu, acse_timeout, dimse_timeout, idle_timeout)
        self._slots = threading.BoundedSemaphore(max_associations)
        self._tls = tls
        self._lock = threading.Lock()
        self._running: dict[ScpAssociation, threading.Thread] = {}
        self._acceptor: threading.Thread | None = None
        self._stopping = threading.Event()
        self._wake: socket.socket | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on; the real port where 0 was asked for."""
        return self._host, self._port

    def associations(self) -> int:
        """Return how many associations there are now."""
        with self._lock:
            return sum(association.accepted for association in self._running)

    def start(self) -> None:
        """Listen, and return at once.

        Raises:
            OSError: the address cannot be had, mostly because the port is taken.
        """
        family, _, _, _, address = socket.getaddrinfo(
            self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(
            address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=self._host == "::"
        )
        listener.setblocking(False)
        self._host, self._port = listener.getsockname()[:2]
        self._wake, woken = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept_all,
            args=(listener, woken),
            name=f"storage-scp-{self._port}",
            daemon=True,
        )
        self._acceptor.start()
        _log.info("storage_scp.listening", host=self._host, port=self._port)

    def stop(self, grace: float = 5.0) -> None:
        """Take no more associations, let running instances finish for ``grace`` seconds, end.

        Afterwards the port is free. What had not been answered by then has not been stored.
        Stopping twice is fine.
        """
        if self._acceptor is None or self._wake is None:
            return
        self._stopping.set()
        self._wake.close()
        self._acceptor.join()
        with self._lock:
            running = dict(self._running)
        for association in running:
            association.stop() if association.accepted else association.break_off()
        _join(list(running.values()), grace)
        for association in running:
            association.break_off()
        _join(list(running.values()), max(grace, 1.0))

    def _accept_all(self, listener: socket.socket, woken: socket.socket) -> None:
        with listener, woken, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            _log.error("storage_scp.accept_failed", reason=describe(error))
            self._stopping.wait(0.1)  # out of file descriptors: some are about to come free
            return
        try:
            host = str(address[0]).removeprefix("::ffff:")  # IPv4 on a socket for both families
            self._serve(sock, (host, int(address[1])))
        except (OSError, RuntimeError) as error:  # the peer is gone already, or no thread is left
            _log.warning("connection.failed", address=str(address[0]), reason=str(error))
            sock.close()

    def _serve(self, sock: socket.socket, address: tuple[str, int]) -> None:
        association = ScpAssociation(
            sock, address, self._handler, limits=self._limits, slots=self._slots, tls=self._tls
        )
        thread = threading.Thread(
            target=self._run, args=(association,), name="storage-scp-association", daemon=True
        )
        with self._lock:
            silent = [each for each in self._running if not each.accepted]
            self._running[association] = thread
        for each in silent[: max(0, len(silent) - _MAX_SILENT + 1)]:
            each.break_off()
        try:
            thread.start()
        except RuntimeError:
            self._forget(association)
            raise

    def _run(self, association: ScpAssociation) -> None:
        try:
            association.run()
        finally:
            self._forget(association)

    def _forget(self, association: ScpAssociation) -> None:
        with self._lock:
            self._running.pop(association, None)


def _join(threads: list[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        with contextlib.suppress(RuntimeError):  # one that could not be started
            thread.join(max(0.0, deadline - time.monotonic()))
