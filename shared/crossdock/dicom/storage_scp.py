"""The storage SCP: listens, and serves each association in a thread of its own.

It takes C-STORE and C-ECHO (PS3.4 annexes B and A). Memory per association is two PDUs, whatever
the size of an instance.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from crossdock.dicom.commitment_handler import CommitmentHandler
from crossdock.dicom.listener import Address, Listener
from crossdock.dicom.negotiation import (
    CALLED_AE_TITLE_NOT_RECOGNISED,
    CALLING_AE_TITLE_NOT_RECOGNISED,
    LOCAL_LIMIT_EXCEEDED,
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
    "TEMPORARILY_NO_REASON_GIVEN",
    "TEMPORARY_CONGESTION",
    "Caller",
    "InstanceWriter",
    "Rejection",
    "StorageHandler",
    "StorageScp",
]

_MAX_SILENT = 64
"""Connections without an association that may exist at once; the oldest makes room for a new."""


class StorageScp:
    """A listening storage SCP that hands what it gets to ``handler``.

    ``max_pdu`` is bytes, all times are seconds: ``acse_timeout`` for the association request,
    ``dimse_timeout`` for progress within a message, ``idle_timeout`` between messages. More than
    ``max_associations`` are rejected as a temporary limit. With ``tls``, which is
    asked anew for each connection, every connection is TLS. ``closed`` is called when a connection
    that was served is over, whether it became an association or not. Storage commitment is spoken
    only with a handler for it, ``commitment``.
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
        closed: Callable[[], None] | None = None,
        commitment: CommitmentHandler | None = None,
    ) -> None:
        self._listener = Listener(host, port, self.serve)
        self._handler = handler
        self._commitment = commitment
        self._closed = closed
        self._limits = Limits(max_pdu, acse_timeout, dimse_timeout, idle_timeout)
        self._slots = threading.BoundedSemaphore(max_associations)
        self._tls = tls
        self._lock = threading.Lock()
        self._running: dict[ScpAssociation, threading.Thread] = {}
        self._stopped = False

    @property
    def address(self) -> Address:
        """Host and port it listens on; the real port where 0 was asked for."""
        return self._listener.address

    def associations(self) -> int:
        """Return how many associations there are now."""
        with self._lock:
            return sum(association.accepted for association in self._running)

    def start(self) -> None:
        """Listen, and return at once.

        Raises:
            OSError: the address cannot be had, mostly because the port is taken.
        """
        self._listener.start()

    def stop(self, grace: float = 5.0) -> None:
        """Take no more associations, let running instances finish for ``grace`` seconds, end.

        Afterwards the port is free. What had not been answered by then has not been stored.
        Stopping twice is fine.
        """
        self._listener.stop()
        with self._lock:
            self._stopped = True
            running = dict(self._running)
        for association in running:
            association.stop() if association.accepted else association.break_off()
        _join(list(running.values()), grace)
        for association in running:
            association.break_off()
        _join(list(running.values()), max(grace, 1.0))

    def serve(self, sock: socket.socket, address: Address) -> None:
        """Serve a connection from an address, and return at once; it needs not listen itself.

        Raises:
            OSError: it is stopped, or the peer is gone already; the socket stays the caller's.
            RuntimeError: there can be no more threads; so does the socket.
        """
        association = ScpAssociation(
            sock,
            address,
            self._handler,
            limits=self._limits,
            slots=self._slots,
            tls=self._tls,
            commitment=self._commitment,
        )
        thread = threading.Thread(
            target=self._run, args=(association,), name="storage-scp-association", daemon=True
        )
        with self._lock:
            if self._stopped:
                raise ConnectionAbortedError("stopping")
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
            if self._closed is not None:
                self._closed()

    def _forget(self, association: ScpAssociation) -> None:
        with self._lock:
            self._running.pop(association, None)


def _join(threads: list[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        with contextlib.suppress(RuntimeError):  # one that could not be started
            thread.join(max(0.0, deadline - time.monotonic()))
