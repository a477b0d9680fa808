"""A listening port: accepts connections and hands each one on."""

import selectors
import socket
import threading
from collections.abc import Callable

import structlog

from crossdock.dicom.connection import describe


_log = structlog.get_logger(__name__)

_BACKLOG = 1024

Address = tuple[str, int]
Take = Callable[[socket.socket, Address], None]
"""Takes over a connection from an address, at once. What raises OSError or RuntimeError does not."""


class Listener:
    """Listens on a port and gives every connection to ``take``, from a thread of its own.

    Port 0 is any that is free.
    """

    def __init__(self, host: str, port: int, take: Take) -> None:
        self._host = host
        self._port = port
        self._take = take
        self._acceptor: threading.Thread | None = None
        self._stopping = threading.Event()
        self._wake: socket.socket | None = None

    @property
    def address(self) -> Address:
        """Host and port it listens on; the real port where 0 was asked for."""
        return self._host, self._port

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

    def stop(self) -> None:
        """Take no more connections; afterwards the port is free. Stopping twice is fine."""
        if self._acceptor is None or self._wake is None:
            return
        self._stopping.set()
        self._wake.close()
        self._acceptor.join()

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
            self._take(sock, (host, int(address[1])))
        except (OSError, RuntimeError) as error:  # the peer is gone already, or no thread is left
            _log.warning("connection.failed", address=str(address[0]), reason=str(error))
            sock.close()
