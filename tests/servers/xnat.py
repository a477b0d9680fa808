"""A small XNAT, written from what XNAT's own server does; none can be installed here.

It knows sessions (JSESSION), projects with rights, the import service (gradual-DICOM and
DICOM-zip), the prearchive and the archive, and is as unhelpful as the real one: an unknown project
lands in Unassigned, an instance that is filtered out gets an empty 200, what comes before a bad
file of a zip stays, and two requests at once that would write the same file are a 400.

As a program it serves one project on a port: ``xnat.py DIRECTORY PORT``.
"""

import base64
import json
import secrets
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import SSLContext
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError


USER, PASSWORD = "gateway", "xnat s3cret: ünd mehr"
READER = ("reader", "reads-only-s3cret")
ALIAS = ("6f1a2b3c-alias", "the-token-s3cret")
PROJECT = "HEART"

_UNASSIGNED = "Unassigned"
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_LOCAL_SIGNATURE, _CENTRAL_SIGNATURE = 0x04034B50, 0x02014B50
_STORED, _HAS_DESCRIPTOR = 0, 0x08
_INBODY_NAME = "upload.dcm"
_LOGIN_PAGE = b"<html><head><title>XNAT</title></head><body>Log in</body></html>"


class Refusal(Exception):  # noqa: N818 — reads as what happened
    """An answer that is not a success."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.words = words


@dataclass
class Project:
    """A project: its ID, other names of it, who may edit it and who may only look."""

    id: str
    aliases: tuple[str, ...] = ()
    editors: set[str] = field(default_factory=lambda: {USER, ALIAS[0]})
    readers: set[str] = field(default_factory=lambda: {READER[0]})


@dataclass
class Session:
    """A session in the prearchive, or in the archive where ``timestamp`` is empty."""

    project: str
    timestamp: str
    folder: str
    subject: str
    tag: str
    status: str = "RECEIVING"
    auto_archive: bool = False
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return f"/data/prearchive/projects/{self.project}/{self.timestamp}/{self.folder}"


class Xnat:
    """What a server holds, for tests to look at and to change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = ""
        self.accounts = dict([(USER, PASSWORD), READER, ALIAS])
        self.projects = {PROJECT: Project(PROJECT, aliases=("heart-study",))}
        self.prearchive: list[Session] = []
        self.archive: dict[tuple[str, str], Session] = {}
        self.filter: Callable[[Dataset], bool] = lambda _ds: True
        self.login_pages = False
        self.busy: set[str] = set()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.sessions: dict[str, str] = {}
        self.lock = threading.RLock()
        self._writing: set[tuple[str, ...]] = set()

    def expire(self) -> None:
        """Forget all sessions, as time does."""
        with self.lock:
            self.sessions.clear()

    def files(self) -> list[Path]:
        """Return all instances of the projects, wherever they are."""
        held = [*self.prearchive, *self.archive.values()]
        kept = (each for each in held if each.project != _UNASSIGNED)
        return sorted(path for session in kept for path in session.files.values())

    def unassigned(self) -> list[Path]:
        found = (each for each in self.prearchive if each.project == _UNASSIGNED)
        return [path for session in found for path in session.files.values()]

    def imports(self) -> list[dict[str, str]]:
        """Return the parameters of all imports so far."""
        return [query for _, path, query in self.requests if path == "/data/services/import"]

    def named(self, name: str) -> Project | None:
        lowered = name.lower()
        for project in self.projects.values():
            if lowered in (project.id.lower(), *map(str.lower, project.aliases)):
                return project
        return None

    # --- import --------------------------------------------------------------------------

    def import_zip(self, user: str, query: dict[str, str], stream: BinaryIO) -> list[str]:
        """Take one entry after the other; what was taken stays, whatever comes after it."""
        uris: dict[str, None] = {}
        for name, path in _entries(stream, self.directory):
            uris.update(dict.fromkeys(self.import_file(user, query, path, name)))
        return list(uris)

    def import_file(self, user: str, query: dict[str, str], path: Path, name: str) -> list[str]:
        try:
            ds = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        except (InvalidDicomError, EOFError, ValueError) as error:
            raise Refusal(400, f"unable to read DICOM object {name}") from error
        if not self.filter(ds):
            return []
        if not ds.get("SOPClassUID") or not ds.get("SOPInstanceUID"):
            raise Refusal(400, f"object {name} contains no SOP Instance UID")
        session = self._receiving(user, query, ds)
        uid = str(ds.SOPInstanceUID)
        self._write(
            session,
            str(ds.get("SeriesInstanceUID", "")),
            self._name(session, query, name, uid),
            path,
        )
        return [session.uri]

    def _name(self, session: Session, query: dict[str, str], name: str, uid: str) -> str:
        own = f"{uid}.dcm"
        if query.get("rename") == "true" or name not in session.files:
            return own if query.get("rename") == "true" else name
        there = dcmread(session.files[name], stop_before_pixels=True, specific_tags=_TAGS)
        return name if there.SOPInstanceUID == uid else own

    def _receiving(self, user: str, query: dict[str, str], ds: Dataset) -> Session:
        """Return the session of this study in the prearchive; a locked one takes nothing."""
        project = self.named(query.get("PROJECT_ID", ""))
        place = project.id if project and user in project.editors else _UNASSIGNED
        label, study = (
            query.get("EXPT_LABEL") or "dicom_upload",
            str(ds.get("StudyInstanceUID", "")),
        )
        with self.lock:
            for session in self.prearchive:
                if (session.project, session.folder, session.tag) == (place, label, study):
                    if session.status in ("BUILDING", "ARCHIVING"):
                        raise Refusal(400, "session is locked")
                    session.status = "RECEIVING"
                    return session
            now = time.time_ns() // 1_000_000
            stamp = time.strftime("%Y%m%d_%H%M%S", time.gmtime(now / 1000)) + f"{now % 1000:03d}"
            subject = query.get("SUBJECT_ID", "")
            automatic = query.get("AA") == "true"
            session = Session(place, stamp, label, subject, study, auto_archive=automatic)
            self.prearchive.append(session)
            return session

    def _write(self, session: Session, series: str, name: str, path: Path) -> None:
        key = (session.project, session.timestamp, session.folder, series + name)
        with self.lock:
            if key in self._writing:
                path.unlink()
                raise Refusal(400, "Concurrent file sends of the same data is not supported.")
            self._writing.add(key)
        try:
            time.sleep(0.001)  # a disk takes time, too, and gives others theirs
            folder = self.directory / "data" / session.project / session.timestamp / session.folder
            folder.mkdir(parents=True, exist_ok=True)
            session.files[name] = path.rename(folder / name)
        finally:
            with self.lock:
                self._writing.discard(key)

    # --- prearchive and archive ----------------------------------------------------------

    def session_at(self, user: str, project: str, timestamp: str, folder: str) -> Session:
        for session in self.prearchive:
            if (session.project, session.timestamp, session.folder) == (project, timestamp, folder):
                self.must_edit(user, project)
                return session
        raise Refusal(404, "not found")

    def must_edit(self, user: str, project: str) -> None:
        found = self.projects.get(project)
        if found is None:
            raise Refusal(404, "Unable to find the specified project.")
        if user not in found.editors:
            raise Refusal(403, "Invalid permissions for new project.")

    def build(self, session: Session) -> None:
        if session.folder in self.busy or session.status in ("BUILDING", "ARCHIVING"):
            raise Refusal(409, "session document locked")
        session.status = "READY"

    def commit(self, session: Session, query: dict[str, str]) -> str:
        """Move a session to the archive, or merge it into the one that is there."""
        if session.folder in self.busy or session.status in ("BUILDING", "ARCHIVING"):
            raise Refusal(403, "Operation already in progress on this prearchive entry.")
        if session.status != "READY":
            raise Refusal(500, "there is no session document")
        key, policy = (session.project, session.folder), query.get("overwrite")
        there = self.archive.get(key)
        if there is not None and policy not in ("append", "delete"):
            session.status = "CONFLICT"
            raise Refusal(409, "Session already exists, retry with overwrite enabled")
        if there is not None and policy == "append":
            if set(there.files) & set(session.files) and query.get("overwrite_files") != "true":
                session.status = "CONFLICT"
                raise Refusal(409, "file already exists")
            session.files = there.files | session.files
        with self.lock:
            self.prearchive.remove(session)
            session.timestamp, session.status = "", "ARCHIVED"
            self.archive[key] = session
        return (
            f"/data/archive/projects/{session.project}/subjects/{session.subject}"
            f"/experiments/{session.folder}"
        )


_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"]


def _entries(stream: BinaryIO, directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a zip as they come, as java.util.zip.ZipInputStream reads them."""
    while True:
        signature = _exactly(stream, 4)
        if struct.unpack("<I", signature)[0] == _CENTRAL_SIGNATURE:
            return
        header = _LOCAL.unpack(signature + _exactly(stream, _LOCAL.size - 4))
        if header[0] != _LOCAL_SIGNATURE:
            raise Refusal(400, "unable to read data from file")
        _, _, flags, method, _, _, crc, _, size, name_length, extra_length = header
        if method != _STORED or flags & _HAS_DESCRIPTOR:
            raise Refusal(400, "only DEFLATED entries can have EXT descriptor")
        name = _exactly(stream, name_length).decode()
        _exactly(stream, extra_length)
        path = _temporary(directory)
        if _copy(stream, path, size) != crc:
            raise Refusal(400, "invalid entry CRC")
        yield name, path


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise Refusal(400, "unexpected end of file")
    return data


def _temporary(directory: Path) -> Path:
    return Path(tempfile.mkstemp(prefix="incoming-", dir=directory)[1])


def _copy(stream: BinaryIO, path: Path, length: int) -> int:
    """Write the next bytes to a file; return their CRC. A file that is cut off does not stay."""
    crc, left = 0, length
    with path.open("wb") as file:
        while left:
            block = stream.read(min(left, 256 * 1024))
            if not block:
                path.unlink()
                raise ConnectionError("the client went away")
            crc = zlib.crc32(block, crc)
            file.write(block)
            left -= len(block)
    return crc


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
        match self.command, parts:
            case "POST", ["data", "JSESSION"]:
                self.cookie = secrets.token_hex(16).upper()
                self.xnat.sessions[self.cookie] = self.user
                return 200, self.cookie.encode(), "text/plain"
            case "DELETE", ["data", "JSESSION"]:
                self.xnat.sessions.pop(self.cookie, None)
                return 200, b"", "text/plain"
            case "GET", ["xapi", "siteConfig", "buildInfo"]:
                return _json({"version": "1.8.10", "isDirty": "false"})
            case "POST", ["data", "services", "import"]:
                return self._import(query)
            case "POST", ["data", "services", "archive"]:
                return self._archive(query)
            case "GET", ["data", "projects", project]:
                return self._project(project)
            case "GET", ["data", "projects", project, "subjects", subject, "experiments", label]:
                found = self.xnat.archive.get((project, label))
                if found is None or found.subject != subject:
                    raise Refusal(404, "Unable to find the specified experiment.")
                return _json({"items": [{"data_fields": {"label": label}}]})
            case "GET", ["data", "prearchive", "projects", project]:
                self.xnat.must_edit(self.user, project)
                return _json({"ResultSet": {"Result": self._rows(project)}})
            case "POST", ["data", "prearchive", "projects", project, timestamp, folder]:
                session = self.xnat.session_at(self.user, project, timestamp, folder)
                if query.get("action") != "build":
                    raise Refusal(400, "unsupported action")
                self.xnat.build(session)
                return _links([session.uri])
        raise Refusal(404, "The server has not found anything matching the request URI")

    def _import(self, query: dict[str, str]) -> tuple[int, bytes, str]:
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
        path = _temporary(self.xnat.directory)
        _copy(stream, path, self.body.left)
        try:
            return _links(self.xnat.import_file(self.user, query, path, _INBODY_NAME))
        finally:
            path.unlink(missing_ok=True)

    def _archive(self, query: dict[str, str]) -> tuple[int, bytes, str]:
        parts = query.get("src", "").removeprefix("/data").strip("/").split("/")
        if len(parts) != 5 or parts[:2] != ["prearchive", "projects"]:
            raise Refusal(400, "Invalid src URI")
        session = self.xnat.session_at(self.user, *parts[2:])
        return _links([self.xnat.commit(session, query)])

    def _project(self, name: str) -> tuple[int, bytes, str]:
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
    with _Server(("127.0.0.1", port), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if tls is None else "https"
        running.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with xnat(Path(sys.argv[1]), port=int(sys.argv[2])), suppress(KeyboardInterrupt):
        threading.Event().wait()
