"""What a small XNAT holds: projects, sessions in the prearchive and in the archive.

Written from what XNAT's own server does, and as unhelpful: an unknown project lands in Unassigned,
an instance that is filtered out is no error, what comes before a bad file of a zip stays, and two
requests at once that would write the same file are refused.
"""

import os
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

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
        self.guests = False
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
        if not _text(ds, "SOPClassUID") or not _text(ds, "SOPInstanceUID"):
            raise Refusal(400, f"object {name} contains no SOP Instance UID")
        session = self._receiving(user, query, ds)
        uid = _text(ds, "SOPInstanceUID")
        self._write(
            session,
            _text(ds, "SeriesInstanceUID"),
            self._name(session, query, name, uid),
            path,
        )
        return [session.uri]

    def _name(self, session: Session, query: dict[str, str], name: str, uid: str) -> str:
        own = f"{uid}.dcm"
        if query.get("rename") == "true" or name not in session.files:
            return own if query.get("rename") == "true" else name
        there = dcmread(session.files[name], stop_before_pixels=True, specific_tags=_TAGS)
        return name if _text(there, "SOPInstanceUID") == uid else own

    def _receiving(self, user: str, query: dict[str, str], ds: Dataset) -> Session:
        """Return the session of this study, a new one while another is on its way to the archive."""
        project = self.named(query.get("PROJECT_ID", ""))
        place = project.id if project and user in project.editors else _UNASSIGNED
        label, study = (
            query.get("EXPT_LABEL") or "dicom_upload",
            _text(ds, "StudyInstanceUID"),
        )
        with self.lock:
            for session in self.prearchive:
                found = (session.project, session.folder, session.tag) == (place, label, study)
                if found and session.status != "ARCHIVING":
                    building = session.status == "BUILDING"
                    session.status = "RECEIVING_INTERRUPT" if building else "RECEIVING"
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


def _text(ds: Dataset, keyword: str) -> str:
    """Return the text of an element as it is: what is invalid is no matter here."""
    value = ds.get_item(keyword).value if keyword in ds else b""  # type: ignore[union-attr]  # it is there
    return value.decode(errors="replace").strip("\0 ") if isinstance(value, bytes) else str(value)


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
        path = temporary(directory)
        if copy(stream, path, size) != crc:
            raise Refusal(400, "invalid entry CRC")
        yield name, path


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise Refusal(400, "unexpected end of file")
    return data


def temporary(directory: Path) -> Path:
    descriptor, path = tempfile.mkstemp(prefix="incoming-", dir=directory)
    os.close(descriptor)
    return Path(path)


def copy(stream: BinaryIO, path: Path, length: int) -> int:
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
