"""The stages of a check of a DICOMweb server."""

import socket
from collections.abc import Callable
from typing import TypeVar

from crossdock.config.targets.dicomweb import DicomwebTarget
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.protocols import network
from crossdock.protocols.dicomweb.client import JSON, Client, Request, secure_context, tls_files
from crossdock.protocols.dicomweb.failures import (
    ADVICE,
    TLS_ADVICE,
    Answer,
    of_answer,
    stage_failed,
)
from crossdock.protocols.dicomweb.store import Store
from crossdock.protocols.stages import Found, Stage, StageFailed, StageSkipped


T = TypeVar("T")

_QIDO = "QIDO-RS"
_NOT_QUERIED = (400, 403, 404, 405, 410, 501)  # answers of servers that have or allow no queries
_PORTS = {"http": 80, "https": 443}


class Checks:
    """Looks at a server step by step. ``close`` ends the connection that it opens."""

    def __init__(self, target: DicomwebTarget, client: Client) -> None:
        self._target = target
        self._client = client
        self._socket: socket.socket | None = None
        address = target.address
        self._server = (address.hostname or "", address.port or _PORTS[address.scheme])
        proxy = target.proxy
        self._place = self._server if proxy is None else (proxy.host, proxy.port)

    def stages(self) -> list[Stage]:
        """Return the stages in their order."""
        secure = self._target.address.scheme == "https"
        return [
            ("resolve", lambda: network.resolve(*self._place)),
            ("ping", lambda: network.ping(*self._place)),
            ("connect", self._connect),
            *([("tls", self._secure)] if secure else []),
            ("authenticate", self._authenticate),
            *([("authorise", self._authorise)] if self._target.stores else []),
            ("round trip", self._round_trip),
        ]

    def close(self) -> None:
        """Close the connection."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _connect(self) -> str:
        advice = ADVICE[ErrorKind.UNREACHABLE]
        self._socket = network.connected(self._place, self._target.connect_timeout, advice)
        to = "connected to the proxy's port" if self._target.proxy else "connected to port"
        return f"{to} {self._place[1]}"

    def _secure(self) -> Found:
        """Shake hands as requests do, and look at the certificate."""
        if self._target.proxy is not None:
            raise StageSkipped("through the proxy: the next stage tells")
        context = explained(lambda: secure_context(tls_files(self._target)))
        assert self._socket is not None  # noqa: S101 — the stage before made it
        host, seconds = self._server[0], self._target.connect_timeout
        sock = network.handshaken(self._socket, context, host, seconds, TLS_ADVICE)
        self._socket = sock
        return network.of_handshake(sock)

    def _authenticate(self) -> str:
        self.close()
        answer = explained(self._query)
        failure = None if answer.status in _NOT_QUERIED else of_answer(answer, _QIDO)
        if failure is not None:
            raise stage_failed(failure)
        return f"{self._client.login.words}: the server answers"

    def _authorise(self) -> str:
        """Ask to store nothing at all, which needs the right to store."""
        answer = explained(lambda: Store(self._target, self._client).post([]))
        if answer.status == 415 or answer.status >= 500:  # noqa: PLR2004 — RFC 9110 15.5.16, 15.6
            raise StageSkipped(f"{answer.words} to an empty request, which may mean nothing")
        return f"storing is allowed: {answer.words} to an empty request"

    def _round_trip(self) -> str:
        """Ask for one study; a server that only stores need not know how to answer."""
        answer = explained(self._query)
        if answer.good:
            return f"answered a query with {answer.words}"
        if self._target.direction == "store" and answer.status in _NOT_QUERIED:
            raise StageSkipped(f"it answers no queries ({answer.words}); storing may work")
        failure = of_answer(answer, _QIDO)
        if failure is not None:
            raise stage_failed(failure)
        raise StageFailed(f"{_QIDO}: {answer.words}", ADVICE[ErrorKind.UNEXPECTED])

    def _query(self) -> Answer:
        url = self._target.resource(self._target.qido_prefix, "studies")
        return self._client.request(Request("GET", f"{url}?limit=1", accept=JSON))


def explained(call: Callable[[], T]) -> T:
    """Call, and turn what is wrong with the target into a failed stage."""
    try:
        return call()
    except DeliveryError as error:
        raise stage_failed(error) from error
