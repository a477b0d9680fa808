"""An SSH server in this process, for what OpenSSH's cannot do here: passwords, and misbehaving."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import asyncssh


Account = tuple[str, str]


class _Server(asyncssh.SSHServer):
    def __init__(self, account: Account, connections: list[asyncssh.SSHServerConnection]) -> None:
        self._account = account
        self._connections = connections

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == self._account


async def _execute(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """Run what the client asks for, as the user of the tests."""
    child = await asyncio.create_subprocess_shell(
        process.command or "true",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    feeding = asyncio.ensure_future(_copy(process.stdin, child.stdin))
    try:
        await asyncio.gather(
            _copy(child.stdout, process.stdout), _copy(child.stderr, process.stderr)
        )
        process.exit(await child.wait())
    finally:
        feeding.cancel()
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _copy(source: Any, sink: Any) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # nobody reads any longer
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


class Sftp(asyncssh.SFTPServer):
    """The whole file system; ``on_rename`` may raise, or break the connection."""

    on_rename: Callable[["Sftp", str], None] = lambda _self, _path: None

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        self.on_rename(newpath.decode())
        super().posix_rename(oldpath, newpath)

    def break_off(self) -> None:
        """End the connection; what was answered before still arrives.

        Were it closed with requests unread, the client could hear of that before it reads the answers.
        """
        self.connection.get_extra_info("socket").shutdown(socket.SHUT_WR)
        vars(self.connection)["send_packet"] = lambda *_packet, **_options: None
        raise asyncssh.SFTPConnectionLost("cut")


@contextmanager
def asyncssh_server(
    account: Account, sftp: type[asyncssh.SFTPServer] = Sftp
) -> Iterator[tuple[int, str]]:
    """Run a server on a free port; yield that and the server's public key."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait_for(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    connections: list[asyncssh.SSHServerConnection] = []
    server = wait_for(_started(key, lambda: _Server(account, connections), sftp))
    try:
        yield server.get_port(), key.export_public_key("openssh").decode().strip()
    finally:
        wait_for(_stopped(server, connections))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _started(
    key: asyncssh.SSHKey, factory: Callable[[], _Server], sftp: type[asyncssh.SFTPServer]
) -> asyncssh.SSHAcceptor:
    return await asyncssh.create_server(
        factory,
        "127.0.0.1",
        0,
        server_host_keys=[key],
        sftp_factory=sftp,
        process_factory=_execute,
        encoding=None,
    )


async def _stopped(
    server: asyncssh.SSHAcceptor, connections: list[asyncssh.SSHServerConnection]
) -> None:
    server.close()
    await server.wait_closed()
    for connection in connections:
        connection.abort()
        await connection.wait_closed()
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)
