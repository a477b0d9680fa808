"""Files for rsync to read: it takes no streams, and the spool's own files tell addresses.

They lie below the data directory, a batch at a time, and only as long as rsync needs them. What a
killed process left is removed by the next one.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import SpoolUnreadable
from crossdock.protocols.payload import Payload
from crossdock.settings import from_environment
from crossdock.spool.durable import try_lock


_BLOCK = 1024 * 1024
_COPY_AT_ONCE = 1 << 30


@dataclass(slots=True)
class Item:
    """An instance of a batch: where it goes, or its outcome where that is known already."""

    outgoing: Outgoing
    path: PurePosixPath | None = None
    outcome: InstanceOutcome | None = None


@dataclass(slots=True)
class Batch:
    """A directory that has the files of some instances under the names that the target's get."""

    directory: Path
    file_mode: int
    directory_mode: int
    items: list[Item] = field(default_factory=list)
    paths: set[PurePosixPath] = field(default_factory=set)
    size: int = 0
    _made: set[PurePosixPath] = field(default_factory=set)

    def add(self, outgoing: Outgoing, path: PurePosixPath) -> None:
        """Add an instance's file.

        Raises:
            SpoolUnreadable: the file in the spool cannot be read.
            OSError: there is no room.
        """
        with Payload(outgoing) as payload:
            self.write(path, payload)
            self.size += payload.size
        self.items.append(Item(outgoing, path))

    def write(self, path: PurePosixPath, content: Payload | bytes = b"") -> None:
        """Write a file."""
        self._make(path.parent)
        place = self.directory / path
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if isinstance(content, Payload):
                _copy(content, descriptor)
            else:
                _write(descriptor, content)
            os.fchmod(descriptor, self.file_mode)
        except SpoolUnreadable:
            place.unlink()
            raise
        finally:
            os.close(descriptor)
        self.paths.add(path)

    def roots(self) -> list[str]:
        """Return what rsync is to take, so that it need not look through the target's directory."""
        if any(len(path.parts) == 1 for path in self.paths):
            return ["./"]
        return [f"./{name}" for name in dict.fromkeys(path.parts[0] for path in self.paths)]

    @property
    def delivery(self) -> str:
        """A word that only the delivery has of which this is a part."""
        return self.items[0].outgoing.path.parent.name if self.items else ""

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _make(self, parent: PurePosixPath) -> None:
        for path in reversed((parent, *parent.parents)):
            if path.parts and path not in self._made:
                place = self.directory / path
                place.mkdir(exist_ok=True)
                place.chmod(self.directory_mode | 0o700)
                self._made.add(path)


class Staging:
    """A place for batches; a context manager that leaves nothing."""

    def __init__(self, file_mode: str, directory_mode: str) -> None:
        self._modes = int(file_mode, 8), int(directory_mode, 8)
        self._parent = from_environment().data / "staging"
        with said():
            self._parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            _remove_stale(self._parent)
            self._home = Path(tempfile.mkdtemp(prefix="rsync-", dir=self._parent))
            self._lock = os.open(self._home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try_lock(self._lock)

    def batch(self) -> Batch:
        """Return an empty batch."""
        with said():
            return Batch(Path(tempfile.mkdtemp(dir=self._home)), *self._modes)

    def close(self) -> None:
        """Remove everything. Closing twice is fine."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            shutil.rmtree(self._home, ignore_errors=True)
            os.close(lock)


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Turn an error of our own disk into one of the delivery."""
    try:
        yield
    except OSError as error:
        words = (error.strerror or type(error).__name__).lower()
        detail = f"files for rsync cannot be written below the data directory: {words}"
        raise DeliveryError(ErrorKind.BUSY, detail, temporary=True) from error


def _copy(payload: Payload, destination: int) -> None:
    """Write a payload; the kernel copies the dataset where it can."""
    _write(destination, payload.meta)
    position = payload.offset
    with contextlib.suppress(OSError):  # said again below by whichever side is at fault
        while copied := os.copy_file_range(payload.file, destination, _COPY_AT_ONCE, position):
            position += copied
    position += len(payload.meta) - payload.offset
    while block := payload.pread(_BLOCK, position):
        position += len(block)
        _write(destination, block)


def _write(destination: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(destination, view) :]


def _remove_stale(parent: Path) -> None:
    """Remove what a process left that did not live to do so itself."""
    for place in parent.glob("rsync-*"):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if try_lock(descriptor):
                    shutil.rmtree(place, ignore_errors=True)
            finally:
                os.close(descriptor)
