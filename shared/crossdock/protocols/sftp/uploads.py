"""Files of one delivery on their way to an SFTP server, many at once.

A file is written under a temporary name, synced where the server can do that, counted, and then
renamed. Renames go out in the order of the instances, so that what is there after a connection
broke is always a beginning of the delivery. Coroutines of the connection's loop.
"""

import asyncio
import contextlib
import posixpath
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import PurePosixPath

import asyncssh

from crossdock.config.targets import SftpTarget
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.pace import Pace
from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import InstanceRefused, SpoolUnreadable
from crossdock.protocols.payload import Payload
from crossdock.protocols.placing import COMPLETE, Places, temporary_name
from crossdock.protocols.sftp.connection import Connection
from crossdock.protocols.sftp.failures import of_name, refused
from crossdock.protocols.ssh.failures import misconfigured


_LARGEST_BLOCK = 255 * 1024  # bytes in one request: what OpenSSH allows
_IN_FLIGHT = 24  # blocks, of all files together
_WORTH_RESUMING = 32 * 1024 * 1024
_COMPARED = 64 * 1024
_TRUNCATED = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_TRUNC
_KEPT = asyncssh.FXF_READ | asyncssh.FXF_WRITE | asyncssh.FXF_CREAT


@dataclass(frozen=True, slots=True)
class _Upload:
    """One file: its content and its names."""

    payload: Payload
    temporary: str
    final: str


class Uploads:
    """Uploads of one delivery over an open connection."""

    def __init__(
        self, target: SftpTarget, places: Places, connection: Connection, pace: Pace
    ) -> None:
        self._target = target
        self._places = places
        self._connection = connection
        self._session = connection.session
        self._pace = pace
        limit = self._session.limits.max_write_len or 32768
        self._block = min(_LARGEST_BLOCK, limit, pace.slice)
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._directories: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._file = asyncssh.SFTPAttrs(permissions=int(target.file_mode, 8))
        self._directory = asyncssh.SFTPAttrs(permissions=int(target.directory_mode, 8))

    def begin(
        self, outgoing: Outgoing, turn: asyncio.Event, done: asyncio.Event
    ) -> "Future[InstanceOutcome]":
        """Start to put one instance in its place.

        It is renamed when its ``turn`` has come; ``done`` is the turn of the one after. What is
        returned raises DeliveryError where the connection or the target is the problem.
        """
        return self._connection.begin(self._put(outgoing, turn, done))

    async def _put(
        self, outgoing: Outgoing, turn: asyncio.Event, done: asyncio.Event
    ) -> InstanceOutcome:
        try:
            outcome = self._places.excluded(outgoing)
            if outcome is None:
                await self._store(outgoing, turn, done)
                outcome = outgoing.outcome(Outcome.DELIVERED)
        except (InstanceRefused, SpoolUnreadable) as error:
            outcome = error.outcome(outgoing)
        await turn.wait()
        done.set()
        return outcome

    async def _store(self, outgoing: Outgoing, turn: asyncio.Event, done: asyncio.Event) -> None:
        final = self._remote(self._places.path(outgoing))
        directory = posixpath.dirname(final)
        temporary = posixpath.join(directory, temporary_name(self._target, outgoing))
        with Payload(outgoing) as payload:
            upload = _Upload(payload, temporary, final)
            try:
                await self._prepared(directory)
                await self._write(upload)
                await turn.wait()
                await self._rename(upload, done)
            except (InstanceRefused, SpoolUnreadable):
                with contextlib.suppress(asyncssh.SFTPError):
                    await self._session.remove(temporary)
                raise

    def _remote(self, path: PurePosixPath) -> str:
        return posixpath.join(self._target.base, str(path))

    async def complete(self, path: PurePosixPath) -> None:
        """Write the ``.complete`` marker into a directory, which is made if need be."""
        directory = self._remote(path).removesuffix("/.")
        await self._prepared(directory)
        file = await self._session.open(
            posixpath.join(directory, COMPLETE), _TRUNCATED, self._file, encoding=None
        )
        await file.close()

    async def _prepared(self, directory: str) -> None:
        """Make a directory ready for files, once: there, and no longer called complete."""
        task = self._directories.get(directory)
        if task is None:
            task = asyncio.ensure_future(self._prepare(directory))
            self._directories[directory] = task
        await asyncio.shield(task)

    async def _prepare(self, directory: str) -> None:
        if not await self._is_directory(directory):
            await require_base(self._target, self._session)
            await self._make(directory)
        elif self._target.complete_marker:
            with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                await self._session.remove(posixpath.join(directory, COMPLETE))

    async def _make(self, directory: str) -> None:
        path = self._target.base
        for part in posixpath.relpath(directory, path).split("/"):
            path = posixpath.join(path, part)
            if await self._is_directory(path):
                continue
            with of_name():
                await self._make_one(path)

    async def _make_one(self, path: str) -> None:
        try:
            await self._session.mkdir(path, self._directory)
        except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists) as error:
            if await self._is_directory(path):  # another worker was as fast
                return
            if await self._session.lexists(path):
                detail = "a file or link stands where the template wants a directory"
                raise refused(error, detail) from error
            raise

    async def _is_directory(self, path: str) -> bool:
        try:
            with of_name():
                attributes = await self._session.stat(path)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return False
        finally:
            self._connection.moved()
        return attributes.type == asyncssh.FILEXFER_TYPE_DIRECTORY

    async def _write(self, upload: _Upload) -> None:
        payload = upload.payload
        file, position = await self._opened(upload)
        self._connection.moved()
        try:
            await self._blocks(file, payload, position)
            steps = await asyncio.gather(self._sync(file), file.stat(), file.close())
        except BaseException:
            self._let_go(file)
            raise
        if steps[1].size != payload.size:
            detail = f"{self._target.path}: the server has {steps[1].size} bytes of {payload.size}"
            raise DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False)

    async def _opened(self, upload: _Upload) -> tuple[asyncssh.SFTPClientFile, int]:
        """Open the temporary file; return it and where to go on in it."""
        if upload.payload.size >= _WORTH_RESUMING:
            with contextlib.suppress(asyncssh.SFTPError):  # then it is written anew
                return await self._resumed(upload)
        with of_name():
            file = await self._session.open(
                upload.temporary, _TRUNCATED, self._file, encoding=None, block_size=0
            )
        return file, 0

    async def _resumed(self, upload: _Upload) -> tuple[asyncssh.SFTPClientFile, int]:
        """Open what an earlier try left, if its end is what it should be.

        The blocks that were under way last are written again: they may have holes in between.
        """
        size = (await self._session.stat(upload.temporary)).size or 0
        position = min(size, upload.payload.size) - _IN_FLIGHT * self._block
        if position < _COMPARED:
            raise asyncssh.SFTPNoSuchFile("there is nothing worth resuming")
        file = await self._session.open(upload.temporary, _KEPT, encoding=None, block_size=0)
        begin = position - _COMPARED
        there = await file.read(_COMPARED, begin)
        wanted: str | bytes = upload.payload.pread(_COMPARED, begin)
        if there != wanted or size > upload.payload.size:
            await file.close()
            raise asyncssh.SFTPNoSuchFile("what is there is something else")
        return file, position

    async def _blocks(self, file: asyncssh.SFTPClientFile, payload: Payload, position: int) -> None:
        """Write from ``position`` on; the blocks of all files share the room in flight."""
        pending: set[asyncio.Task[None]] = set()
        failed: list[asyncio.Task[None]] = []

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled() or task.exception() is not None:
                failed.append(task)
            else:
                pending.discard(task)

        try:
            while position < payload.size and not failed:
                await self._room.acquire()
                try:
                    await self._due(min(self._block, payload.size - position))
                    data = payload.pread(self._block, position)
                except (SpoolUnreadable, asyncio.CancelledError):
                    self._room.release()
                    raise
                task = asyncio.ensure_future(self._write_block(file, data, position))
                pending.add(task)
                task.add_done_callback(ended)
                position += len(data)
            await asyncio.gather(*pending)
        finally:
            for task in pending:
                task.cancel()

    async def _due(self, size: int) -> None:
        if self._pace.limited:
            await asyncio.sleep(self._pace.delay(size, time.monotonic()))
            self._connection.moved()  # it is we who wait

    async def _write_block(self, file: asyncssh.SFTPClientFile, data: bytes, position: int) -> None:
        try:
            await file.write(data, position)
            self._connection.moved()
        finally:
            self._room.release()

    def _let_go(self, file: asyncssh.SFTPClientFile) -> None:
        """Close a file that something went wrong with, without waiting for it."""
        closing = asyncio.ensure_future(file.close())
        self._closing.add(closing)
        closing.add_done_callback(lambda task: task.cancelled() or task.exception())
        closing.add_done_callback(self._closing.discard)

    async def _sync(self, file: asyncssh.SFTPClientFile) -> None:
        with contextlib.suppress(asyncssh.SFTPOpUnsupported):  # then it is up to the server
            await file.fsync()
        self._connection.moved()

    async def _rename(self, upload: _Upload, done: asyncio.Event) -> None:
        """Rename, and let the next one go as soon as the request is on its way."""
        renaming = asyncio.ensure_future(self._replace(upload.temporary, upload.final))
        try:
            await asyncio.sleep(0)
            done.set()
            await renaming
        except (asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied) as error:
            if await self._is_directory(upload.final):
                raise refused(error, "a directory has the name from the template") from error
            raise
        finally:
            renaming.cancel()
        self._connection.moved()

    async def _replace(self, temporary: str, final: str) -> None:
        with of_name():
            try:
                await self._session.posix_rename(temporary, final)
            except asyncssh.SFTPOpUnsupported:
                with contextlib.suppress(asyncssh.SFTPNoSuchFile):
                    await self._session.remove(final)
                await self._session.rename(temporary, final)


async def require_base(target: SftpTarget, session: asyncssh.SFTPClient) -> str:
    """Say that the target's directory is there.

    Raises:
        DeliveryError: it is not.
    """
    path = target.path
    try:
        attributes = await session.stat(target.base)
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        advice = "make it on the server, or correct path; it is never made by itself"
        raise misconfigured(f"{path} is not there", advice) from None
    if attributes.type != asyncssh.FILEXFER_TYPE_DIRECTORY:
        raise misconfigured(f"{path} is no directory", "correct path")
    return f"{path} is a directory"
