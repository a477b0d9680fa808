"""A DICOMweb server that speaks HTTP/2 only (RFC 9113), over TLS."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

from servers.stow import Asked, StowServer


@contextmanager
def http2_server(server: StowServer, tls: ssl.SSLContext) -> Iterator[StowServer]:
    """Run it on a free port until the block ends."""
    tls.set_alpn_protocols(["h2"])
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def listen(listener: socket.socket) -> None:
        with suppress(OSError):  # the test is over
            while True:
                accepted, _ = listener.accept()
                threads.append(threading.Thread(target=talk, args=(accepted,)))
                threads[-1].start()

    def talk(accepted: socket.socket) -> None:
        with suppress(OSError), tls.wrap_socket(accepted, server_side=True) as secured:
            connections.append(secured)
            _Talk(server, secured).run()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port, server.scheme = listener.getsockname()[1], "https"
        thread = threading.Thread(target=listen, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for each in (thread, *threads):
                each.join()


class _Talk:
    """One connection."""

    def __init__(self, server: StowServer, sock: ssl.SSLSocket) -> None:
        self.server = server
        self.sock = sock
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self.asked: dict[int, Asked] = {}
        self.bodies: dict[int, bytearray] = {}

    def run(self) -> None:
        with self.server.lock:
            self.server.connections += 1
        self.h2.initiate_connection()
        self.sock.sendall(self.h2.data_to_send())
        while data := self.sock.recv(65536):
            for event in self.h2.receive_data(data):
                self.hear(event)
            self.sock.sendall(self.h2.data_to_send())

    def hear(self, event: Any) -> None:
        match event:
            case RequestReceived():
                self.asked[event.stream_id] = _asked(event.headers)
                self.bodies[event.stream_id] = bytearray()
            case DataReceived():
                self.bodies[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                asked = self.asked.pop(event.stream_id)
                body = bytes(self.bodies.pop(event.stream_id))
                reply = self.server.first_answer(asked) or self.server.answer(asked, body)
                headers = [(":status", str(reply.status)), ("content-type", reply.media_type)]
                self.h2.send_headers(event.stream_id, headers)
                self.h2.send_data(event.stream_id, reply.body or b"", end_stream=True)


def _asked(headers: Any) -> Asked:
    found = {str(name, "ascii"): str(value, "latin-1") for name, value in headers}
    path = urlsplit(found[":path"])
    query = {name: values[0] for name, values in parse_qs(path.query).items()}
    return Asked(found[":method"], path.path, found, query, 0)
