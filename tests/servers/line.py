"""A TCP line between two programs on this machine: slow, broken or silent as a test says."""

import asyncio
import socket
import struct
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager


_CHUNK = 16 * 1024
_AT_ONCE = struct.pack("ii", 1, 0)  # as SO_LINGER: closing is an RST

_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Way = asyncio.Queue[tuple[float, bytes]]


class Line:
    """A line to ``to``, a port of this machine; callers connect to ``port``.

    What a test changes holds for the bytes that come then. ``delay`` is for how many seconds they
    are under way, in each direction. A connection is reset at both ends when ``breaks_after`` bytes
    of its caller have passed; after ``silent_after`` of them nothing gets through any longer in
    either direction, and nobody is told. ``connections``, ``broken`` and ``silenced`` count.
    """

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = 0
        self.delay = 0.0
        self.breaks_after: int | None = None
        self.silent_after: int | None = None
        self.connections = self.broken = self.silenced = 0
        self._open: set[_Connection] = set()
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="line")

    def heal(self) -> None:
        """Be a good line again; what is connected is reset."""
        self.delay, self.breaks_after, self.silent_after = 0.0, None, None
        self.reset()

    def reset(self) -> None:
        """Reset whatever is connected."""
        self._loop.call_soon_threadsafe(self._reset)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Reset what is connected, and end."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._called, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        while self._open:
            self._reset()
            await asyncio.sleep(0.01)

    async def _called(self, *caller: *_End) -> None:
        self.connections += 1
        connection = _Connection(self, caller)
        self._open.add(connection)
        try:
            await connection.serve()
        finally:
            self._open.discard(connection)

    def _reset(self) -> None:
        for connection in self._open:
            connection.reset()


class _Connection:
    """A caller, and whom it is connected to."""

    def __init__(self, line: Line, caller: _End) -> None:
        self._line = line
        self._caller = caller
        self._writers = [caller[1]]
        self._count = 0
        self._silent = False

    async def serve(self) -> None:
        """Carry bytes until both ends have closed, or are reset."""
        try:
            far = await asyncio.open_connection("127.0.0.1", self._line.to)
            self._writers.append(far[1])
            async with asyncio.TaskGroup() as ways:
                for task in (
                    *self._carry(self._caller[0], far[1], limited=True),
                    *self._carry(far[0], self._caller[1], limited=False),
                ):
                    ways.create_task(task)
        except* OSError:
            self.reset()
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        """Have both ends get an RST."""
        for writer in self._writers:
            if not writer.is_closing():
                end = writer.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            writer.transport.abort()

    def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, limited: bool
    ) -> tuple[Coroutine[None, None, None], Coroutine[None, None, None]]:
        sink.transport.set_write_buffer_limits(0)  # so that what is drained has left
        way = _Way()
        return self._read(source, way), self._write(way, sink, limited=limited)

    async def _read(self, source: asyncio.StreamReader, way: _Way) -> None:
        """Note until when bytes are under way; none are the end of them."""
        data = b"..."
        while data:
            data = await source.read(_CHUNK)
            way.put_nowait((asyncio.get_running_loop().time() + self._line.delay, data))

    async def _write(self, way: _Way, sink: asyncio.StreamWriter, *, limited: bool) -> None:
        data = b"..."
        while data and not sink.is_closing():
            due, data = await way.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            passes = data[: self._room()] if limited else data
            self._count += len(passes) if limited else 0
            if not self._silent:
                await _pass(sink, passes)
            if len(passes) < len(data):
                self._fail()

    def _room(self) -> int:
        """Return how many bytes of the caller may pass yet."""
        limits = (self._line.breaks_after, self._line.silent_after)
        known = [limit for limit in limits if limit is not None]
        return max(0, min(known, default=sys.maxsize) - self._count)

    def _fail(self) -> None:
        if self._line.breaks_after is not None:
            self._line.broken += 1
            self.reset()
        elif not self._silent:
            self._line.silenced += 1
            self._silent = True


async def _pass(sink: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        sink.write(data)
        await sink.drain()
    elif sink.can_write_eof():
        sink.write_eof()


@contextmanager
def line(to: int) -> Iterator[Line]:
    """Run a line to a port for as long as the block lasts."""
    running = Line(to)
    running.start()
    try:
        yield running
    finally:
        running.stop()
