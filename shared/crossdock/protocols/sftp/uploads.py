"""Files of one delivery on their way to an SFTP server, many at once.

A file is written under a temporary name, synced where the server can do that, counted, and then
renamed. Renames go out in the order of the instances, so that what is there after a connection
broke is always a beginning of the delivery. Coroutines of the connection's loop.
"""

import asyncio
import contextlib
import posixpath
from dataclasses import dataclass

import asyncssh

from crossdock.config.targets import SftpTarget
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.protocols.payload import Payload, SpoolUnreadable
from crossdock.protocols.placing import COMPLETE
from crossdock.protocols.sftp.connection import Connection
from crossdock.protocols.sftp.failures import Refused, of_name
from crossdock.protocols.ssh.failures import misconfigured


_LARGEST_BLOCK = 255 * 1024  # bytes in one request: what OpenSSH allows
_IN_FLIGHT = 24  # blocks, of all files together
_WORTH_RESUMING = 32 * 1024 * 1024
_COMPARED = 64 * 1024
_TRUNCATED = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_TRUNC
_KEPT = asyncssh.FXF_READ | asyncssh.FXF_WRITE | asyncssh.FXF_CREAT


@dataclass(frozen=True, slots=True)
class Upload:
    """One file: its content, its names, and its turn to be renamed.

    ``turn`` comes once the file before has been renamed; ``done`` is the turn of the one after.
    """

    payload: Payload
    temporary: str
    final: str
    turn: asyncio.Event
    done: asyncio.Event


class Uploads:
    """Uploads of one delivery over an open connection."""

    def __init__(self, target: SftpTarget, connection: Connection) -> None:
        self._target = target
        self._connection = connection
        self._session = connection.session
        self._block = min(_LARGEST_BLOCK, self._session.limits.max_write_len or 32768)
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._directories: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._file = asyncssh.SFTPAttrs(permissions=int(target.file_mode, 8))
        self._directory = asyncssh.SFTPAttrs(permissions=int(target.directory_mode, 8))

    async def put(self, upload: Upload) -> None:
        """Put one file in its place.

        Raises:
            Refused: the server does not take this one; the next ones may go on.
            SpoolUnreadable: the file in the spool cannot be read; as above.
        """
        try:
            await self._prepared(posixpath.dirname(upload.final))
            await self._write(upload)
            await upload.turn.wait()
            await self._rename(upload)
        except (Refused, SpoolUnreadable):
            with contextlib.suppress(asyncssh.SFTPError):
                await self._session.remove(upload.temporary)
            await upload.turn.wait()
            upload.done.set()
            raise

    async def complete(self, directory: str) -> None:
        """Write the ``.complete`` marker into a directory, which is made if need be."""
        await self._prepared(directory)
        file = await self._session.open(
            posixpath.join(directory, COMPLETE), _TRUNCATED, self._file, encoding=None
        )
        await file.close()

    async def require_base(self) -> str:
        """Say that the target's directory is there.

        Raises:
            DeliveryError: it is not.
        """
        path = self._target.path
        try:
            attributes = await self._session.stat(self._target.base)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            advice = "make it on the server, or correct path; it is never made by itself"
            raise misconfigured(f"{path} is not there", advice) from None
        if attributes.type != asyncssh.FILEXFER_TYPE_DIRECTORY:
            raise misconfigured(f"{path} is no directory", "correct path")
        return f"{path} is a directory"

    async def _prepared(self, directory: str) -> None:
        """Make a directory ready for files, once: there, and no longer called complete."""
        task = self._directories.get(directory)
        if task is None:
            task = asyncio.ensure_future(self._prepare(directory))
            self._directories[directory] = task
        await asyncio.shield(task)

    async def _prepare(self, directory: str) -> None:
        if not await self._is_directory(directory):
            await self.require_base()
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
                raise Refused(error, detail) from error
            raise

    async def _is_directory(self, path: str) -> bool:
        try:
            with of_name():
                attributes = await self._session.stat(path)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return False
        return attributes.type == asyncssh.FILEXFER_TYPE_DIRECTORY

    async def _write(self, upload: Upload) -> None:
        payload = upload.payload
        file, position = await self._opened(upload)
        try:
            await self._blocks(file, payload, position)
            steps = await asyncio.gather(self._sync(file), file.stat(), file.close())
        except BaseException:
            self._let_go(file)
            raise
        if steps[1].size != payload.size:
            detail = f"{self._target.path}: the server has {steps[1].size} bytes of {payload.size}"
            raise DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False)

    async def _opened(self, upload: Upload) -> tuple[asyncssh.SFTPClientFile, int]:
        """Open the temporary file; return it and where to go on in it."""
        if upload.payload.size >= _WORTH_RESUMING:
            with contextlib.suppress(asyncssh.SFTPError):  # then it is written anew
                return await self._resumed(upload)
        with of_name():
            file = await self._session.open(
                upload.temporary, _TRUNCATED, self._file, encoding=None, block_size=0
            )
        return file, 0

    async def _resumed(self, upload: Upload) -> tuple[asyncssh.SFTPClientFile, int]:
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
                    data = payload.pread(self._block, position)
                except SpoolUnreadable:
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

    async def _rename(self, upload: Upload) -> None:
        """Rename, and let the next one go as soon as the request is on its way."""
        renaming = asyncio.ensure_future(self._replace(upload.temporary, upload.final))
        try:
            await asyncio.sleep(0)
            upload.done.set()
            await renaming
        except (asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied) as error:
            if await self._is_directory(upload.final):
                raise Refused(error, "a directory has the name from the template") from error
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
