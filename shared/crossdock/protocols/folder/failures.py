"""What the errors of a file system mean for a delivery."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from crossdock.errors import ErrorKind
from crossdock.protocols.failures import InstanceRefused, TargetFailed


_OF_THE_INSTANCE = {
    errno.ENAMETOOLONG: "the name from the template is too long for this file system",
    errno.EINVAL: "this file system does not allow the name from the template",
    errno.EILSEQ: "this file system does not allow the characters of the name",
    errno.ENOTDIR: "a file stands where the template wants a directory",
    errno.ELOOP: "a symbolic link stands where the template wants a directory",
    errno.EFBIG: "the instance is larger than this file system allows a file to be",
}

_FULL = (ErrorKind.BUSY, True, "make room, or raise the quota")
_AWAY = (ErrorKind.UNREACHABLE, True, "is it mounted, and its server up?")
_DENIED = (ErrorKind.MISCONFIGURED, False, "let the dispatcher's user write there")

_OF_THE_TARGET = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.ENOENT: _AWAY,
    errno.ESTALE: _AWAY,
    errno.EIO: _AWAY,
    errno.ETIMEDOUT: _AWAY,
    errno.ENOTCONN: _AWAY,
    errno.ENODEV: _AWAY,
    errno.EHOSTDOWN: _AWAY,
    errno.EHOSTUNREACH: _AWAY,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: (ErrorKind.MISCONFIGURED, False, "it is mounted read-only"),
    errno.ENOTDIR: (ErrorKind.MISCONFIGURED, False, "the target's path is no directory"),
}


def unstorable(error: OSError) -> InstanceRefused | None:
    """Return what an error says of the one instance, None if it is about the whole target."""
    detail = _OF_THE_INSTANCE.get(error.errno or 0)
    return None if detail is None else InstanceRefused(errno.errorcode[error.errno or 0], detail)


def failure(error: OSError, path: str) -> TargetFailed:
    """Return what an error says of the target, whose directory is ``path``."""
    kind, temporary, advice = _OF_THE_TARGET.get(
        error.errno or 0, (ErrorKind.UNEXPECTED, False, "see the system's log")
    )
    return TargetFailed(kind, f"{path}: {words(error)}", advice, temporary=temporary)


def words(error: OSError) -> str:
    """Return an error of the operating system for people, without the name of a file."""
    return (error.strerror or type(error).__name__).lower()


@contextmanager
def of_target(path: str) -> Iterator[None]:
    """Turn the errors of a file system into those of a delivery."""
    try:
        yield
    except OSError as error:
        raise failure(error, path) from error


@contextmanager
def of_instance() -> Iterator[None]:
    """Turn the errors that are about one instance only into ``InstanceRefused``."""
    try:
        yield
    except OSError as error:
        refused = unstorable(error)
        if refused is None:
            raise
        raise refused from error
