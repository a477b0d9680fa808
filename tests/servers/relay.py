"""An HTTP server between a client and a store, which passes requests on or fails as it is told."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from servers.serving import serving


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for; its body, if any, has not been read yet."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer instead of passing a request on."""

    status: int
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def content(self) -> bytes:
        """Return the body, by default an error of S3."""
        if self.body is not None:
            return self.body
        return f"<Error><Code>{self.code}</Code><Message>no</Message></Error>".encode()


Rule = Callable[[Request], Reply | str | None]
"""Says what to do: None passes the request on; ``cut``, ``hang`` and ``damage`` speak for themselves."""


class Relay:
    """A running relay at ``url``; ``rule`` may be changed, ``requests`` is what was asked for."""

    def __init__(self, store: str, rule: Rule) -> None:
        self.rule = rule
        self.requests: list[Request] = []
        self.over = threading.Event()
        self.url = ""
        self._store = urlsplit(store)

    def counted(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)

    def pass_on(self, request: Request, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._store.netloc, timeout=30)
        try:
            connection.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    relay: Relay

    def _handle(self) -> None:
        request = Request(self.command, self.path, dict(self.headers.items()))
        self.relay.requests.append(request)
        decision = self.relay.rule(request)
        if decision == "hang":
            self.relay.over.wait(60)
            decision = "cut"
        length = int(self.headers.get("Content-Length") or 0)
        if decision == "cut":
            self.rfile.read(min(length, 1000))
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if isinstance(decision, Reply):
            self._answer(decision.status, list(decision.headers.items()), decision.content())
            return
        if decision == "damage":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self._answer(*self.relay.pass_on(request, body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 — http.server's names

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        ours = ("content-length", "transfer-encoding", "connection")
        for name, value in headers:
            if name.lower() not in ours:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


@contextmanager
def relay(store: str, rule: Rule = lambda _request: None) -> Iterator[Relay]:
    """Run a relay to a store for as long as the block lasts."""
    running = Relay(store, rule)
    handler = type("_BoundHandler", (_Handler,), {"relay": running})
    server = _Server(("127.0.0.1", 0), handler)
    running.url = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server, running.over.set):
        yield running
