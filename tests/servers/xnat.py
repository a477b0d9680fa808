"""A small XNAT over HTTP; no real one can be installed here.

It knows JSESSION, projects, the import service (gradual-DICOM and DICOM-zip), the prearchive and
the archive; ``xnat_state`` says what it does with them.

As a program it serves one project on a port: ``xnat.py DIRECTORY PORT``.
"""

import base64
import json
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import SSLContext
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from servers.serving import serving
from servers.xnat_state import Refusal, Xnat, copy, temporary


_INBODY_NAME = "upload.dcm"
_LOGIN_PAGE = b"<html><head><title>XNAT</title></head><body>Log in</body></html>"


class _Limited:
    """The body of a request, and nothing after it."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self.left = length

    def read(self, length: int) -> bytes:
        data = self._stream.read(min(length, self.left))
        self.left -= len(data)
        return data

    def drain(self) -> None:
        while self.left and self.read(65536):
            pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    xnat: Xnat
    body: _Limited
    user: str

    def _handle(self) -> None:
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        self.xnat.requests.append((self.command, address.path, query))
        self.body = _Limited(self.rfile, int(self.headers.get("Content-Length") or 0))
        self.cookie = ""
        try:
            self._authenticated(address.path, query)
        except Refusal as refusal:
            self.body.drain()
            self._refuse(refusal)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_PUT = _handle  # noqa: N815 — http.server's names

    def _authenticated(self, path: str, query: dict[str, str]) -> None:
        user = self._who()
        if user is None and self.xnat.login_pages and path != "/data/JSESSION":
            self.body.drain()
            self._answer(200, _LOGIN_PAGE, "text/html;charset=UTF-8")
            return
        if user is None and self.xnat.guests and path != "/data/JSESSION":
            user = "guest"
        if user is None:
            raise Refusal(401, "Unauthorized")
        self.user = user
        parts = [unquote(part) for part in path.strip("/").split("/")]
        answer = self._routed(parts, query)
        self.body.drain()
        self._answer(*answer)

    def _who(self) -> str | None:
        """Return who asks: by the cookie of a session, or by name and password."""
        cookies = dict(
            part.strip().partition("=")[::2] for part in self.headers.get("Cookie", "").split(";")
        )
        if cookies.get("JSESSIONID") in self.xnat.sessions:
            self.cookie = cookies["JSESSIONID"]
            return self.xnat.sessions[self.cookie]
        scheme, _, shown = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        name, _, password = base64.b64decode(shown).decode().partition(":")
        return name if self.xnat.accounts.get(name) == password else None

    def _routed(self, parts: list[str], query: dict[str, str]) -> tuple[int, bytes, str]:
        for method, pattern, answer in _ROUTES:
            fits = self.command == method and len(parts) == len(pattern)
            if fits and all(ours in ("*", each) for ours, each in zip(pattern, parts, strict=True)):
                named = (each for ours, each in zip(pattern, parts, strict=True) if ours == "*")
                return answer(self, query, *named)
        raise Refusal(404, "The server has not found anything matching the request URI")

    def on_open(self, _query: dict[str, str]) -> tuple[int, bytes, str]:
        self.cookie = secrets.token_hex(16).upper()
        self.xnat.sessions[self.cookie] = self.user
        return 200, self.cookie.encode(), "text/plain"

    def on_leave(self, _query: dict[str, str]) -> tuple[int, bytes, str]:
        self.xnat.sessions.pop(self.cookie, None)
        return 200, b"", "text/plain"

    def on_version(self, _query: dict[str, str]) -> tuple[int, bytes, str]:
        return _json({"version": "1.8.10", "isDirty": "false"})

    def on_experiment(
        self, _query: dict[str, str], project: str, subject: str, label: str
    ) -> tuple[int, bytes, str]:
        found = self.xnat.archive.get((project, label))
        if found is None or found.subject != subject:
            raise Refusal(404, "Unable to find the specified experiment.")
        return _json({"items": [{"data_fields": {"label": label}}]})

    def on_list(self, _query: dict[str, str], project: str) -> tuple[int, bytes, str]:
        self.xnat.must_edit(self.user, project)
        return _json({"ResultSet": {"Result": self._rows(project)}})

    def on_act(
        self, query: dict[str, str], project: str, timestamp: str, folder: str
    ) -> tuple[int, bytes, str]:
        session = self.xnat.session_at(self.user, project, timestamp, folder)
        if query.get("action") != "build":
            raise Refusal(400, "unsupported action")
        self.xnat.build(session)
        return _links([session.uri])

    def on_import(self, query: dict[str, str]) -> tuple[int, bytes, str]:
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        if query.get("inbody") != "true":
            raise Refusal(400, "no file was found")
        handler = query.get("import-handler") or {"application/dicom": "gradual-DICOM"}.get(kind)
        stream: Any = self.body
        if handler == "DICOM-zip":
            if kind != "application/zip":
                raise Refusal(400, "Unsupported format UNKNOWN")
            return _links(self.xnat.import_zip(self.user, query, stream))
        if handler != "gradual-DICOM":
            raise Refusal(404, "Unsupported import-handler")
        path = temporary(self.xnat.directory)
        copy(stream, path, self.body.left)
        try:
            return _links(self.xnat.import_file(self.user, query, path, _INBODY_NAME))
        finally:
            path.unlink(missing_ok=True)

    def on_archive(self, query: dict[str, str]) -> tuple[int, bytes, str]:
        parts = query.get("src", "").removeprefix("/data").strip("/").split("/")
        if len(parts) != 5 or parts[:2] != ["prearchive", "projects"]:
            raise Refusal(400, "Invalid src URI")
        session = self.xnat.session_at(self.user, *parts[2:])
        return _links([self.xnat.commit(session, query)])

    def on_project(self, _query: dict[str, str], name: str) -> tuple[int, bytes, str]:
        project = self.xnat.named(name)
        if project is None:
            raise Refusal(404, "Unable to find the specified project.")
        if self.user not in project.editors | project.readers:
            raise Refusal(
                403, "Specified user account has insufficient privileges for this project."
            )
        return _json({"items": [{"data_fields": {"ID": project.id, "name": "Heart study"}}]})

    def _rows(self, project: str) -> list[dict[str, str]]:
        return [
            {
                "project": each.project,
                "timestamp": each.timestamp,
                "folderName": each.folder,
                "name": each.folder,
                "subject": each.subject,
                "status": each.status,
                "tag": each.tag,
                "autoarchive": "AutoArchive" if each.auto_archive else "Manual",
                "url": each.uri.removeprefix("/data"),
            }
            for each in self.xnat.prearchive
            if each.project == project
        ]

    def _refuse(self, refusal: Refusal) -> None:
        page = f"<html><body><h3>{refusal.words}</h3></body></html>".encode()
        self._answer(refusal.status, page, "text/html;charset=UTF-8")

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="XNAT Protected Area"')
        self.send_header("Set-Cookie", f"JSESSIONID={self.cookie or secrets.token_hex(16)}; Path=/")
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


def _links(uris: list[str]) -> tuple[int, bytes, str]:
    return 200, "".join(f"{uri}\r\n" for uri in uris).encode(), "text/uri-list"


def _json(document: object) -> tuple[int, bytes, str]:
    return 200, json.dumps(document).encode(), "application/json"


_ROUTES: tuple[tuple[str, tuple[str, ...], Callable[..., tuple[int, bytes, str]]], ...] = (
    ("POST", ("data", "JSESSION"), _Handler.on_open),
    ("DELETE", ("data", "JSESSION"), _Handler.on_leave),
    ("GET", ("xapi", "siteConfig", "buildInfo"), _Handler.on_version),
    ("POST", ("data", "services", "import"), _Handler.on_import),
    ("POST", ("data", "services", "archive"), _Handler.on_archive),
    ("GET", ("data", "projects", "*"), _Handler.on_project),
    ("GET", ("data", "projects", "*", "subjects", "*", "experiments", "*"), _Handler.on_experiment),
    ("GET", ("data", "prearchive", "projects", "*"), _Handler.on_list),
    ("POST", ("data", "prearchive", "projects", "*", "*", "*"), _Handler.on_act),
)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what some tests are about."""


@contextmanager
def xnat(directory: Path, tls: SSLContext | None = None, port: int = 0) -> Iterator[Xnat]:
    """Run a server with one project for as long as the block lasts."""
    directory.mkdir(parents=True, exist_ok=True)
    running = Xnat(directory)
    handler = type("_BoundHandler", (_Handler,), {"xnat": running})
    server = _Server(("127.0.0.1", port), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    scheme = "http" if tls is None else "https"
    running.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield running


if __name__ == "__main__":
    with xnat(Path(sys.argv[1]), port=int(sys.argv[2])), suppress(KeyboardInterrupt):
        threading.Event().wait()
