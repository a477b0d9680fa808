"""A TCP relay with a delay: ``relay.py PORT TARGET_PORT MILLISECONDS`` holds each byte that long.

The kernel here has no delay of its own to offer; this one keeps order and rate and adds latency.
"""

import asyncio
import contextlib
import sys


_BLOCK = 256 * 1024


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Carry bytes one way until they end."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1000)

    async def take() -> None:
        while data := await reader.read(_BLOCK):
            await waiting.put((loop.time() + delay, data))
        await waiting.put((loop.time() + delay, b""))

    async with asyncio.TaskGroup() as group:
        group.create_task(take())
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def main(port: int, target: int, milliseconds: float) -> None:
    """Relay every connection, each way with half of the round trip."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        delay = milliseconds / 2000
        with contextlib.suppress(ExceptionGroup, OSError):
            await asyncio.gather(pump(reader, back, delay), pump(there, writer, delay))
        writer.close()
        back.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
