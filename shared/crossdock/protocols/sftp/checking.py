"""What a check finds out in an open SFTP session; it leaves nothing behind."""

import contextlib
import posixpath
import secrets
import time

import asyncssh

from crossdock.config.targets import SftpTarget
from crossdock.protocols.sftp.connection import Connection
from crossdock.protocols.sftp.uploads import require_base
from crossdock.protocols.stages import Stage, StageFailed, StageSkipped


_GIGABYTE = 10**9
_CONTENT = b"check"


def session_stages(target: SftpTarget, connection: Connection) -> tuple[Stage, ...]:
    """Return the stages after authentication: directory, authorise, round trip and space."""
    found = _Findings(target, connection)
    return (
        ("directory", lambda: connection.run(found.directory())),
        ("authorise", lambda: connection.run(found.authorise())),
        ("round trip", lambda: connection.run(found.round_trip())),
        ("space", lambda: connection.run(found.space())),
    )


class _Findings:
    def __init__(self, target: SftpTarget, connection: Connection) -> None:
        self._target = target
        self._connection = connection

    @property
    def _session(self) -> asyncssh.SFTPClient:
        return self._connection.session

    async def directory(self) -> str:
        return await require_base(self._target, self._session)

    async def authorise(self) -> str:
        """Write, sync, name, read and remove a file, as sending does."""
        name = posixpath.join(self._target.base, f".crossdock-check-{secrets.token_hex(8)}")
        try:
            lacking = await self._write(f"{name}.part", name)
        finally:
            for each in (f"{name}.part", name):
                with contextlib.suppress(asyncssh.SFTPError):  # the first failure is what counts
                    await self._session.remove(each)
        words = f"; the server cannot {' or '.join(lacking)}" if lacking else ""
        return f"a file could be written, named, read and removed{words}"

    async def _write(self, temporary: str, name: str) -> list[str]:
        """Return what the server lacks and sending would use."""
        lacking = []
        async with self._session.open(temporary, "wb") as file:
            await file.write(_CONTENT)
            try:
                await file.fsync()
            except asyncssh.SFTPOpUnsupported:
                lacking.append("sync files to its disk")
        try:
            await self._session.posix_rename(temporary, name)
        except asyncssh.SFTPOpUnsupported:
            lacking.append("replace a file at once")
            await self._session.rename(temporary, name)
        async with self._session.open(name, "rb") as file:
            content: str | bytes = await file.read()
            if content != _CONTENT:
                detail = f"{self._target.path}: a file was read back with another content"
                raise StageFailed(detail, "look at the server's log")
        return lacking

    async def round_trip(self) -> str:
        began = time.perf_counter()
        await self._session.stat(self._target.base)
        return f"answered in {(time.perf_counter() - began) * 1000:.1f} ms"

    async def space(self) -> str:
        try:
            statistics = await self._session.statvfs(self._target.base)
        except asyncssh.SFTPOpUnsupported:
            raise StageSkipped("the server does not say how much room there is") from None
        free = statistics.bavail * statistics.frsize
        if not free and statistics.blocks:
            detail = f"{self._target.path}: no space left"
            raise StageFailed(detail, "make room, or raise the quota")
        return f"{free / _GIGABYTE:.1f} GB free"
