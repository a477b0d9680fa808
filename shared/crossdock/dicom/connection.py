"""A blocking connection that speaks in PDUs: the one place where the data plane touches sockets.

Each exchange of DICOM ends in a small segment. Two settings keep it from waiting 40 ms for an
acknowledgement: TCP_NODELAY for what we send, and TCP_QUICKACK, which the kernel forgets and which
is therefore set before every read, for peers that leave Nagle's algorithm on.
"""

import contextlib
import errno
import math
import os
import select
import socket
import ssl
import struct
import time
from typing import Final

from crossdock.dicom.errors import (
    AssociationAborted,
    PeerTimeout,
    PeerUnreachable,
    TlsEnded,
    TlsFailed,
)
from crossdock.dicom.pdu import Fragment, Pdu, PduStream, encode_short
from crossdock.dicom.tls import PeerCertificate, peer_certificate, words_of
from crossdock.errors import SpoolError


_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)
_WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_SHORTEST_WAIT = 0.001  # seconds; to the kernel, 0 is for ever
_FIRST_BUFFER = 8 * 1024
_DRAIN_BUFFER = 64 * 1024


class Connection:
    """One TCP or TLS connection.

    ``max_length`` is the longest P-DATA-TF taken from the peer. Times are seconds. A connection
    belongs to one thread; ``interrupt`` and ``break_off`` may be called from another one.

    Reading is one system call, which waits by itself. What the kernel may wait (``_patience``) is
    set seldom, so it is less than what is asked for, and the rest is waited for in ``poll``. TLS
    does not block at all, since Python would begin each wait that is over anew.
    """

    def __init__(self, sock: socket.socket, max_length: int) -> None:
        self._socket = sock
        self._stream = PduStream(max_length)
        self._buffer = memoryview(bytearray(_FIRST_BUFFER))
        self._tail = memoryview(b"")
        self._patience = math.inf
        self._send_flags = int(socket.MSG_DONTWAIT)  # as an enum it costs more than the call
        self._send_limit = 0.0
        self._poll = select.poll()
        self._awaited = 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(True)

    def secure(
        self, tls: ssl.SSLContext, seconds: float, server_hostname: str | None = None
    ) -> None:
        """Begin TLS: as the client of ``server_hostname``, or as the server.

        Raises:
            TlsFailed: the two do not agree; the message says about what.
            PeerUnreachable: the connection was lost.
            PeerTimeout: it took longer than ``seconds``.
        """
        deadline = time.monotonic() + seconds
        self._patience, self._send_flags = 0.0, 0
        self._socket.setblocking(False)
        try:
            secured = tls.wrap_socket(
                self._socket,
                server_side=server_hostname is None,
                do_handshake_on_connect=False,
                server_hostname=server_hostname,
            )
            self._socket = secured
            while True:
                try:
                    return secured.do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
                    left = deadline - time.monotonic()
                    self._wait(_event_for(want), left, seconds, "TLS handshake")
        except (ssl.SSLError, ValueError) as error:  # ValueError: a name that TLS cannot ask for
            raise TlsFailed(describe(error)) from None
        except OSError as error:
            raise PeerUnreachable("tls", describe(error)) from None

    @property
    def encrypted(self) -> bool:
        """Whether it is TLS, so that the kernel cannot send files by itself."""
        return isinstance(self._socket, ssl.SSLSocket)

    @property
    def certificate(self) -> PeerCertificate | None:
        """The certificate that the peer showed, None without TLS or if it was not asked for one."""
        sock = self._socket
        return peer_certificate(sock) if isinstance(sock, ssl.SSLSocket) else None

    @property
    def cipher(self) -> str:
        """The TLS version and cipher suite, empty without TLS."""
        sock = self._socket
        found = sock.cipher() if isinstance(sock, ssl.SSLSocket) else None
        return f"{found[1]} {found[0]}" if found else ""

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to read now, not even the end of the connection."""
        self._watch(select.POLLIN)
        return not self._tail and not self._poll.poll(0)

    def enlarge(self, size: int) -> None:
        """Read up to ``size`` bytes at once from now on: worth its memory once data is to come."""
        self._buffer = memoryview(bytearray(size))

    def receive(self, seconds: float, waited_for: str) -> list[Fragment | Pdu]:
        """Return what the next bytes complete, which may be nothing yet.

        Fragments are views that are valid until the next call.

        Raises:
            AssociationAborted: the peer closed the connection, or it broke.
            PeerTimeout: not a byte came within ``seconds``.
            ProtocolError: what came is not DICOM.
        """
        free, kept = self._buffer, len(self._tail)
        if kept:
            free[:kept] = bytes(self._tail)  # it may overlap with where it goes
            free = free[kept:]
        received = self._read(free, seconds, waited_for)
        if not received:
            raise AssociationAborted("the peer closed the connection")
        data = self._buffer[: kept + received]
        items, used = self._stream.feed(data)
        self._tail = data[used:]
        return items

    def _read(self, buffer: memoryview, seconds: float, waited_for: str) -> int:
        try:
            if seconds < self._patience:
                self._be_patient(seconds / 2)
            if _QUICKACK is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except OSError as error:
            raise _lost(error) from None
        while True:
            try:
                return self._socket.recv_into(buffer)
            except _WOULD_BLOCK as want:
                event = _event_for(want, select.POLLIN)
                self._wait(event, seconds - self._patience, seconds, waited_for)
            except OSError as error:
                raise _lost(error) from None

    def _be_patient(self, seconds: float) -> None:
        self._patience = max(seconds, _SHORTEST_WAIT)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._patience))

    def send(self, data: bytes | memoryview, seconds: float, flags: int = 0) -> None:
        """Send all of ``data``.

        Raises:
            AssociationAborted: the connection is gone.
            PeerTimeout: the peer took nothing for ``seconds``.
        """
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left, flags | self._send_flags) :]
            except _WOULD_BLOCK as want:
                self._wait(_event_for(want), seconds, seconds, "progress in sending")
            except OSError as error:
                raise _lost(error) from None

    def send_file(self, file: int, offset: int, length: int, seconds: float) -> None:
        """Send bytes of an open file without touching them; not possible with TLS.

        Raises:
            AssociationAborted, PeerTimeout: as ``send``.
            SpoolError: the file cannot be read, or has ended.
        """
        end = offset + length
        self._limit_sending(seconds)
        while offset < end:
            try:
                sent = os.sendfile(self._socket.fileno(), file, offset, end - offset)
            except BlockingIOError:
                raise PeerTimeout("progress in sending", seconds) from None
            except OSError as error:
                if error.errno == errno.EIO:
                    raise SpoolError(f"an instance's file: {describe(error)}") from None
                raise _lost(error) from None
            if not sent:
                raise SpoolError("an instance's file ended before its dataset was sent")
            offset += sent

    def _limit_sending(self, seconds: float) -> None:
        if seconds != self._send_limit:
            self._send_limit = seconds
            limit = _timeval(max(seconds, _SHORTEST_WAIT))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def _wait(self, event: int, left: float, seconds: float, waited_for: str) -> None:
        self._watch(event)
        if not self._poll.poll(max(left, 0.0) * 1000):
            raise PeerTimeout(waited_for, seconds)

    def _watch(self, event: int) -> None:
        if event != self._awaited:
            self._poll.register(self._socket.fileno(), event)
            self._awaited = event

    def say(self, kind: int, first: int = 0, second: int = 0, third: int = 0) -> None:
        """Send a short PDU as a last word; that it may not arrive is no news by then."""
        with contextlib.suppress(AssociationAborted, PeerTimeout):
            self.send(encode_short(kind, first, second, third), 1.0)

    def interrupt(self) -> None:
        """Make a waiting ``receive`` return as if the peer had closed. Safe from any thread."""
        self._shut(socket.SHUT_RD)

    def break_off(self) -> None:
        """End both directions at once. Safe from any thread; ``close`` is still to come."""
        self._shut(socket.SHUT_RDWR)

    def linger(self, seconds: float) -> None:
        """Wait until the peer closes, reading over what still comes.

        Closing with unread data would make the kernel destroy our last words on their way.
        """
        deadline = time.monotonic() + seconds
        buffer = memoryview(bytearray(_DRAIN_BUFFER))
        self._shut(socket.SHUT_WR)
        with contextlib.suppress(OSError, PeerTimeout):
            while (left := deadline - time.monotonic()) > 0:
                self._wait(select.POLLIN, left, seconds, "close")
                # Past TLS: after a handshake that failed it would not read any more.
                if not socket.socket.recv_into(self._socket, buffer):
                    return

    def close(self) -> None:
        """Close the socket. Closing twice is fine."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError):
            # An SSLSocket's own method would go on in plain text while another thread reads.
            socket.socket.shutdown(self._socket, how)


def _timeval(seconds: float) -> bytes:
    """Return a time as the kernel wants it."""
    whole = int(seconds)
    return struct.pack("@ll", whole, int((seconds - whole) * 1_000_000))


def _event_for(want: OSError, otherwise: int = select.POLLOUT) -> int:
    """Return what to wait for: TLS may have to read in order to write, and the other way round."""
    if isinstance(want, ssl.SSLWantReadError):
        return select.POLLIN
    return select.POLLOUT if isinstance(want, ssl.SSLWantWriteError) else otherwise


def _lost(error: OSError) -> AssociationAborted:
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return TlsEnded(describe(error))
    return AssociationAborted(f"connection lost: {describe(error)}")


def describe(error: Exception) -> str:
    """Return an operating system's or TLS error for people, without its number."""
    if isinstance(error, ssl.SSLError):
        return words_of(error)
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
