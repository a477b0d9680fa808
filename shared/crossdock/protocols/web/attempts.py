"""Requests that others can interrupt, and that survive the end of a kept connection."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from crossdock.protocols.failures import Interrupted


T = TypeVar("T")

Trace = Callable[[str, dict[str, Any]], None]
"""Hears of what httpx does underneath (its trace extension)."""

_OPENED = ("connect_tcp.complete", "start_tls.complete")
_CUT = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)


class Attempts:
    """The requests of a client, made by several threads."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._interrupted = False

    def make(self, exchange: Callable[[Trace], T]) -> T:
        """Return what ``exchange`` does, which makes a request with the trace that it is given.

        It is made again if its connection was kept from before and turns out to be gone.

        Raises:
            HTTPError: as ``exchange`` does.
            Interrupted: by ``interrupt``.
        """
        fresh: list[str] = []

        def trace(event: str, info: dict[str, Any]) -> None:
            if event.endswith(_OPENED):
                fresh.append(event)
                self._opened(info["return_value"])

        while True:
            self.go_on()
            try:
                return exchange(trace)
            except httpx.HTTPError as error:
                self.go_on()
                if fresh or not isinstance(error, _CUT):
                    raise
                fresh.append("again")

    def interrupt(self) -> None:
        """Make the requests that run in other threads end soon; no other can be made after."""
        self._interrupted = True
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):  # it is closed already
                sock.shutdown(socket.SHUT_RDWR)

    def go_on(self) -> None:
        """Do nothing, or raise ``Interrupted``; for whatever a request waits for."""
        if self._interrupted:
            raise Interrupted

    def _opened(self, stream: Any) -> None:
        """Remember the socket of a connection that has just been opened."""
        with self._lock:
            kept = [each for each in self._sockets if each.fileno() >= 0]
            self._sockets = [*kept, stream.get_extra_info("socket")]
        if self._interrupted:
            stream.close()  # nobody else will
            raise Interrupted
