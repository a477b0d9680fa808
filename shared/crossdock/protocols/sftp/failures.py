"""What the errors of SSH and SFTP mean for a delivery."""

import asyncio
import contextlib
from collections.abc import Iterator

import asyncssh

from crossdock.config.targets import SftpTarget
from crossdock.errors import ErrorKind
from crossdock.protocols.failures import InstanceRefused, TargetFailed
from crossdock.protocols.ssh.failures import (
    busy,
    misconfigured,
    timed_out,
    unauthorised,
    unreachable,
)


_GONE = (
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    asyncssh.DisconnectError,
    asyncssh.ChannelOpenError,
    OSError,
)
# Up to version 3 of the protocol, which nearly all speak, a full disk is only a failure.
_FULL = (asyncssh.SFTPFailure, asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)
_NAMES = (asyncssh.SFTPBadMessage, asyncssh.SFTPInvalidFilename)
_CODES = {
    asyncssh.FX_NO_SUCH_FILE: "SSH_FX_NO_SUCH_FILE",
    asyncssh.FX_PERMISSION_DENIED: "SSH_FX_PERMISSION_DENIED",
    asyncssh.FX_FAILURE: "SSH_FX_FAILURE",
    asyncssh.FX_BAD_MESSAGE: "SSH_FX_BAD_MESSAGE",
    asyncssh.FX_OP_UNSUPPORTED: "SSH_FX_OP_UNSUPPORTED",
}


def refused(error: asyncssh.SFTPError, detail: str) -> InstanceRefused:
    """Return that the server does not take this instance, whereas it takes others."""
    return InstanceRefused(_CODES.get(error.code, f"SSH_FX {error.code}"), detail)


def of_opening(error: Exception, target: SftpTarget) -> TargetFailed:
    """Return why a connection could not be opened; a refused host key comes before."""
    place = f"{target.host}:{target.port}"
    match error:
        case TimeoutError():
            return timed_out(f"no answer from {place} within {target.timeout:g} s")
        case asyncssh.PermissionDenied():
            return unauthorised(f"permission denied for {target.user} at {place}")
        case asyncssh.DisconnectError(code=asyncssh.DISC_TOO_MANY_CONNECTIONS):
            return busy(f"{place} takes no more connections")
        case _:
            return _misfit(error, target) or unreachable(f"{place}: {words(error)}")


def _misfit(error: Exception, target: SftpTarget) -> TargetFailed | None:
    """Return that something else is there than we need, if that is so."""
    place = f"{target.host}:{target.port}"
    match error:
        case asyncssh.KeyExchangeFailed():
            advice = "let the server offer algorithms that are not obsolete"
            return misconfigured(f"{place} and we have no algorithm in common", advice)
        case asyncssh.ProtocolError() | asyncssh.ProtocolNotSupported():
            advice = "compare host and port with the server's settings"
            return misconfigured(f"no SSH server answers at {place}", advice)
        case asyncssh.SFTPError() | asyncssh.ChannelOpenError():
            advice = "let the account use SFTP on the server"
            return misconfigured(f"{place} offers no SFTP to {target.user}", advice)
        case _:
            return None


def words(error: Exception) -> str:
    """Return in words how a connection ended."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection was lost"


def of_session(error: Exception, target: SftpTarget) -> TargetFailed:
    """Return what an error in an open session says of the target."""
    path = target.path
    match error:
        case asyncssh.SFTPPermissionDenied() | asyncssh.SFTPWriteProtect():
            advice = f"let {target.user} write there"
            return misconfigured(f"{path}: permission denied by the server", advice)
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
            return unreachable(f"{path}: something vanished there while we wrote")
        case _ if isinstance(error, _FULL):
            found, advice = (
                f"{path}: the server failed to write",
                "is there room, within the quota?",
            )
            return TargetFailed(ErrorKind.BUSY, found, advice, temporary=True)
        case _ if isinstance(error, _GONE):
            return unreachable(f"{target.host}:{target.port}: {words(error)}")
        case _:
            status = _CODES.get(getattr(error, "code", -1), type(error).__name__)
            found = f"{path}: the server answered {status}"
            return TargetFailed(ErrorKind.UNEXPECTED, found, "see its log")


@contextlib.contextmanager
def of_name() -> Iterator[None]:
    """Turn the errors that are about one name only into ``InstanceRefused``."""
    try:
        yield
    except _NAMES as error:
        raise refused(error, "the server does not allow the name from the template") from error
    except asyncssh.SFTPFileIsADirectory as error:
        raise refused(error, "a directory has the name from the template") from error
    except asyncssh.SFTPNotADirectory as error:
        raise refused(error, "a file stands where the template wants a directory") from error


SESSION_ERRORS = (asyncssh.Error, OSError, asyncio.TimeoutError)
"""Everything that asyncssh raises while a session is used."""
