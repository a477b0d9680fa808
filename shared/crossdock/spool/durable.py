"""Files and renames that survive a power cut, and locks that end with their process.

What is locked is a file that is open for writing, never a directory: over NFS a lock of a directory
is known to one machine only, and one of a file that is open for reading cannot be had.
"""

import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SharedSync:
    """Makes the names in one directory durable for many threads at once.

    A sync that has begun may miss a name, so a caller needs one that begins after the call. Those
    that come while one runs share the next.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._running = False
        self._begun = 0
        self._ended = 0
        self._failure: tuple[int, OSError] | None = None

    def sync(self) -> None:
        """Return once the names that the directory has now are durable.

        Raises:
            OSError: they are not; all who share the sync hear it, since the kernel says it once.
        """
        with self._changed:
            wanted = self._begun + 1
            while self._running and self._ended < wanted:
                self._changed.wait()
            if self._failure is not None and self._failure[0] >= wanted:
                raise OSError(*self._failure[1].args)
            if self._ended >= wanted:
                return
            self._running = True
            self._begun = number = self._begun + 1
        self._lead(number)

    def _lead(self, number: int) -> None:
        failure: OSError | None = None
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            failure = error
            raise
        finally:
            with self._changed:
                self._running = False
                self._ended = number
                self._failure = self._failure if failure is None else (number, failure)
                self._changed.notify_all()


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole and durable under its name, or not there.

    Raises:
        OSError: the disk is full or read-only, or fails. Under the name is all of it, or what was
            there before.
    """
    # By chance and not by process: in containers every service may be process 1.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        move(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of ``content``; a disk that fills up takes a part of it first.

    Raises:
        OSError: not all of it could be written.
    """
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def move(source: Path, destination: Path) -> None:
    """Rename atomically and make the new name durable, and then the old one's absence."""
    source.rename(destination)
    sync_directory(destination.parent)
    if source.parent != destination.parent:
        sync_directory(source.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the exclusive lock of a file; wait for it if another has it.

    The kernel frees it when its process ends, however it ends.

    Raises:
        FileNotFoundError: there is no such file (any more).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock of a file that is open for writing, unless another has it."""
    return _lock_at_once(descriptor, fcntl.LOCK_EX)


def is_locked(path: Path) -> bool:
    """Whether another has the exclusive lock of a file; reading it is enough to ask.

    Raises:
        FileNotFoundError: there is no such file (any more).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return not _lock_at_once(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _lock_at_once(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
