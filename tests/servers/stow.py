"""A DICOMweb server written from PS3.18, in this process: it stores, and misbehaves when told to."""

import base64
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from servers.serving import serving


ROOT = "/dicom-web"
JSON = "application/dicom+json"


@dataclass
class Reply:
    """What to answer. ``body`` None closes the connection instead; ``drain`` reads the request's."""

    status: int
    body: bytes | None = b""
    media_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    drain: bool = True


@dataclass
class Asked:
    """A request: what it says before its body, and which instances were in it."""

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]
    connection: int
    instances: list[str] = field(default_factory=list)
    size: int = 0


Answer = Callable[[Asked], Reply | None]


class StowServer:
    """Instances by UID, and knobs for what a server may do with them.

    ``early`` may answer before the body is read, ``late`` after it; None lets the server do its
    work. ``refused`` and ``warned`` are reasons by UID (PS3.18 I.2), ``login`` is the Authorization
    header that is asked for.
    """

    def __init__(self) -> None:
        self.instances: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.connections = 0
        self.early: Answer = lambda _asked: None
        self.late: Answer = lambda _asked: None
        self.refused: dict[str, int] = {}
        self.warned: dict[str, int] = {}
        self.unnamed: set[str] = set()
        self.xml = False
        self.queries = True
        self.login: Callable[[str], bool] = lambda _header: True
        self.lock = threading.Lock()
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{ROOT}"

    def first_answer(self, asked: Asked) -> Reply | None:
        """What is answered before the body is read, None to read it and to do what is asked."""
        self.asked.append(asked)
        if not self.login(asked.headers.get("authorization", "")):
            return Reply(401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        said = self.early(asked)
        return said or (None if asked.path.startswith(ROOT + "/") else Reply(404))

    def answer(self, asked: Asked, body: bytes) -> Reply:
        """Do what is asked (PS3.18 10.5, 10.6)."""
        return self._query(asked) if asked.method == "GET" else self._store(asked, body)

    def stored(self) -> list[Asked]:
        """The requests that brought instances."""
        return [asked for asked in self.asked if asked.instances]

    def keep(self, part: bytes) -> tuple[str, int | None]:
        """Keep a part; return its UID and why not, if not."""
        ds = dcmread(DicomBytesIO(part), stop_before_pixels=True)
        uid = str(ds.SOPInstanceUID)
        if uid in self.refused:
            return uid, self.refused[uid]
        with self.lock:
            self.instances[uid] = part
        return uid, None

    def report(self, outcomes: list[tuple[str, int | None]]) -> dict[str, Any]:
        """The Store Instances Response Module (PS3.18 I.2) as DICOM JSON."""
        stored, failed = [], []
        for uid, reason in outcomes:
            item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
            if uid in self.unnamed:
                continue
            if reason is None:
                if uid in self.warned:
                    item["00081196"] = {"vr": "US", "Value": [self.warned[uid]]}
                stored.append(item)
            else:
                failed.append({**item, "00081197": {"vr": "US", "Value": [reason]}})
        sequences = {"00081199": stored, "00081198": failed}
        return {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}

    def _store(self, asked: Asked, body: bytes) -> Reply:
        if not asked.path.endswith("/studies"):
            return Reply(404)
        parts = _parts(asked.headers.get("content-type", ""), body)
        if parts is None:
            return Reply(415)
        outcomes = []
        try:
            for part in parts:
                asked.instances.append(str(dcmread(DicomBytesIO(part)).SOPInstanceUID))
            said = self.late(asked)
            if said is not None:
                return said
            outcomes = [self.keep(part) for part in parts]
        except Exception:  # noqa: BLE001 — whatever pydicom thinks of it
            return Reply(400)
        report = self.report(outcomes)
        failed = sum(reason is not None for _, reason in outcomes)
        status = 200 if not failed else 409 if failed == len(outcomes) else 202
        if self.xml:
            return Reply(status, _xml(report), "application/dicom+xml")
        return _json(status, report, JSON)

    def _query(self, asked: Asked) -> Reply:
        if not self.queries:
            return Reply(404)
        uid = asked.query.get("SOPInstanceUID")
        found = [each for each in list(self.instances) if uid in (None, each)]
        items = [{"00080018": {"vr": "UI", "Value": [each]}} for each in found]
        return _json(200, items, JSON) if items else Reply(204)


def basic(user: str, password: str) -> Callable[[str], bool]:
    """A login that wants this user."""
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return lambda header: header == wanted


class TokenServer:
    """Gives out tokens for client credentials (RFC 6749 4.4), and says which are good."""

    def __init__(self, client: str, secret: str, seconds: float = 3600) -> None:
        self.client, self.secret, self.seconds = client, secret, seconds
        self.given: list[str] = []
        self.good: set[str] = set()
        self.scopes: list[str] = []
        self.fails: Reply | None = None

    def answer(self, asked: Asked, body: bytes) -> Reply:
        if self.fails is not None:
            return self.fails
        form = dict(parse_qsl(body.decode()))
        pair = (form.get("client_id", ""), form.get("client_secret", ""))
        header = asked.headers.get("authorization", "")
        if header.startswith("Basic "):
            user, _, password = base64.b64decode(header[6:]).decode().partition(":")
            pair = dict(parse_qsl(f"a={user}&b={password}")).values()  # type: ignore[assignment]
        if tuple(pair) != (self.client, self.secret):
            return _json(401, {"error": "invalid_client"})
        if form.get("grant_type") != "client_credentials":
            return _json(400, {"error": "unsupported_grant_type"})
        token = f"token-{len(self.given) + 1}"
        self.given.append(token)
        self.good.add(token)
        self.scopes.append(form.get("scope", ""))
        life = {} if self.seconds == 0 else {"expires_in": self.seconds}
        return _json(200, {"access_token": token, "token_type": "Bearer", **life})

    def login(self, header: str) -> bool:
        return header.removeprefix("Bearer ") in self.good


@contextmanager
def stow_server(
    server: StowServer, tls: ssl.SSLContext | None = None, tokens: TokenServer | None = None
) -> Iterator[StowServer]:
    """Run it on a free port until the block ends; ``tokens`` are to be had at ``/token``."""

    class Handler(_Handler):
        dicomweb = server
        token_server = tokens

    listener = _Listener(("127.0.0.1", 0), Handler)
    if tls is not None:
        listener.tls = tls
        server.scheme = "https"
    server.port = listener.server_address[1]
    with serving(listener, listener.cut):
        yield server


class _Listener(ThreadingHTTPServer):
    daemon_threads = False
    tls: ssl.SSLContext | None = None

    def __init__(self, *arguments: Any) -> None:
        self.open: list[socket.socket] = []
        super().__init__(*arguments)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:  # the client does not like us, or we do not like it
                request.close()
                return
        self.open.append(request)
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""

    def cut(self) -> None:
        """End all connections."""
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dicomweb: StowServer
    token_server: TokenServer | None

    def setup(self) -> None:
        super().setup()
        with self.dicomweb.lock:
            self.dicomweb.connections += 1
            self.number = self.dicomweb.connections
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        asked = self._asked()
        asked.size = int(asked.headers["content-length"])
        if asked.path == "/token" and self.token_server is not None:
            self._say(self.token_server.answer(asked, self.rfile.read(asked.size)))
            return
        early = self.dicomweb.first_answer(asked)
        if early is not None and not early.drain:
            self._say(early)
            self.close_connection = True
            return
        body = self.rfile.read(asked.size)
        self._say(early or self.dicomweb.answer(asked, body))

    def do_GET(self) -> None:
        asked = self._asked()
        self._say(self.dicomweb.first_answer(asked) or self.dicomweb.answer(asked, b""))

    def do_CONNECT(self) -> None:
        """Be a proxy: let everything through to where the request says (RFC 9110 9.3.6)."""
        asked = self._asked()
        refusal = self.dicomweb.first_answer(asked)
        if refusal is not None and refusal.status != 404:
            self._say(refusal)
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            self._say(Reply(204))
            back = threading.Thread(target=_copy, args=(server, self.connection))
            back.start()
            _copy(self.connection, server)
            back.join()
        self.close_connection = True

    def _asked(self) -> Asked:
        found = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(found.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Asked(self.command, found.path, headers, query, self.number)

    def _say(self, reply: Reply) -> None:
        if reply.body is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.media_type:
            self.send_header("Content-Type", reply.media_type)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


def _copy(source: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            destination.sendall(data)
    with suppress(OSError):
        destination.shutdown(socket.SHUT_WR)


def _json(status: int, document: Any, media_type: str = "application/json") -> Reply:
    return Reply(status, json.dumps(document).encode(), media_type)


def _parts(content_type: str, body: bytes) -> list[bytes] | None:
    """The parts of a multipart/related body (RFC 2046 5.1), None if it is none of DICOM."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if not content_type.startswith("multipart/related") or boundary is None:
        return None
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    parts = []
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        assert b"application/dicom" in head
        parts.append(content)
    return parts


def _xml(report: dict[str, Any]) -> bytes:
    """The Native DICOM Model (PS3.19 A.1) of a report."""

    def attribute(tag: str, element: dict[str, Any]) -> str:
        inner = ""
        for number, value in enumerate(element["Value"], 1):
            if isinstance(value, dict):
                items = "\n".join(attribute(*each) for each in value.items())
                inner += f'<Item number="{number}">{items}</Item>\n'
            else:
                inner += f'<Value number="{number}">{value}</Value>\n'
        return f'<DicomAttribute tag="{tag}" vr="{element["vr"]}">\n{inner}</DicomAttribute>'

    attributes = "\n".join(attribute(*each) for each in report.items())
    name = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
    return f'<?xml version="1.0"?>\n<n:M xmlns:n="{name}">{attributes}</n:M>'.encode()


def at(moment: float) -> str:
    """A moment as HTTP writes it."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(moment))
