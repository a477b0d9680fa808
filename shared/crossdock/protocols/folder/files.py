"""Files below a directory that others write to as well: never through a symbolic link.

Directories are descriptors; names are single components. Everything raises ``OSError``.
"""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence

from crossdock.dicom.part10 import parse_file_meta
from crossdock.errors import DicomError
from crossdock.faults import reached
from crossdock.pace import Pace
from crossdock.protocols.failures import SpoolUnreadable
from crossdock.protocols.folder.failures import words


_BLOCK = 1024 * 1024
_LONGEST_META = 64 * 1024
_COPY_AT_ONCE = 1 << 30
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNBLOCKED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO would block
_renaming = threading.Lock()
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)


@contextlib.contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """Close a descriptor at the end of a block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def enter(base: int, components: Sequence[str], made: Callable[[int], None]) -> int:
    """Open a directory below ``base``, making it and what lies between, durably.

    Each one that had to be made is given to ``made`` before others can rely on it.
    """
    descriptor = os.dup(base)
    for component in components:
        with opened(descriptor):
            descriptor = _enter_one(descriptor, component, made)
    return descriptor


def _enter_one(parent: int, name: str, made: Callable[[int], None]) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.open(name, _DIRECTORY, dir_fd=parent)
    with contextlib.suppress(FileExistsError):  # another worker was as fast
        os.mkdir(name, dir_fd=parent)
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            made(descriptor)
            sync_names(parent)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):  # somebody has put something there
                os.rmdir(name, dir_fd=parent)
            raise
        return descriptor
    return os.open(name, _DIRECTORY, dir_fd=parent)


def sync_names(directory: int) -> None:
    """Make the names in a directory durable, on file systems that can be asked to."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a file system says that has no such thing
            raise


def create(directory: int, name: str) -> int:
    """Create a file that only we write to, in place of what an earlier try left."""
    remove(directory, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=directory)


def remove(directory: int, name: str) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def give_name(directory: int, temporary: str, name: str) -> bool:
    """Give a finished file its name, durably; return False if the name is taken.

    A hard link is taken or not, whoever else tries. File systems without them get a rename, after
    a look, in which no other thread of this process comes between.
    """
    try:
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with _renaming:
            if exists(directory, name):
                return False
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    else:
        reached("dispatcher.file_linked")
        os.unlink(temporary, dir_fd=directory)
    sync_names(directory)
    return True


def exists(directory: int, name: str) -> bool:
    """Whether anything has this name, be it a dangling link."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def copy(source: int, offset: int, destination: int, pace: Pace) -> None:
    """Append ``source`` from ``offset`` on; the kernel, or the server of a share, copies if it can.

    With a limited ``pace`` that is done in slices, each of which is waited for after it.

    Raises:
        SpoolUnreadable: the source cannot be read.
    """
    at_once = min(_COPY_AT_ONCE, pace.slice)
    with contextlib.suppress(OSError):  # said again below by whichever side is at fault
        while copied := os.copy_file_range(source, destination, at_once, offset):
            offset += copied
            pace.wait(copied)
    with contextlib.suppress(OSError):  # the former works within one file system only
        while copied := os.sendfile(destination, source, offset, at_once):
            offset += copied
            pace.wait(copied)
    while block := _read(source, offset, min(_BLOCK, pace.slice)):
        offset += write(destination, block)
        pace.wait(len(block))


def _read(source: int, offset: int, length: int = _BLOCK) -> bytes:
    try:
        return os.pread(source, length, offset)
    except OSError as error:
        raise SpoolUnreadable(words(error)) from error


def write(descriptor: int, content: bytes) -> int:
    """Write all of ``content``; return its length."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(content)


def dataset_offset(descriptor: int) -> int:
    """Return where the dataset of a Part 10 file begins.

    Raises:
        DicomError: it is none.
    """
    size = os.fstat(descriptor).st_size
    meta = parse_file_meta(os.pread(descriptor, _LONGEST_META, 0), size, "file")
    if meta is None:
        raise DicomError("the file meta information is cut off")
    return meta.dataset_offset


def holds_dataset(directory: int, name: str, source: int, offset: int) -> bool | None:
    """Whether the file of this name has the dataset that ``source`` has from ``offset`` on.

    None if nothing has this name. True is said only of what is durable.
    """
    try:
        descriptor = os.open(name, _UNBLOCKED, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link; a socket
            return False
        raise
    with opened(descriptor):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        same = _same_dataset(descriptor, source, offset)
        if same:
            os.fsync(descriptor)
            sync_names(directory)
        return same


def _same_dataset(descriptor: int, source: int, offset: int) -> bool:
    try:
        place = dataset_offset(descriptor)
    except DicomError:
        return False
    if os.fstat(descriptor).st_size - place != os.fstat(source).st_size - offset:
        return False
    while block := _read(source, offset):
        if os.pread(descriptor, len(block), place) != block:
            return False
        offset += len(block)
        place += len(block)
    return True
