"""One SSH connection with an SFTP session; the only code that opens one.

Everything runs in an event loop of its own. What takes longer than ``timeout`` without any progress
at all, and what is under way when the connection ends, fails at once.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import asyncssh

from crossdock.config.targets import SftpTarget
from crossdock.errors import DeliveryError
from crossdock.protocols.sftp.failures import SESSION_ERRORS, of_opening, of_session, words
from crossdock.protocols.sftp.loop import Loop
from crossdock.protocols.ssh import ALIAS, Trust, credentials_of, fingerprint, set_before, trust_of
from crossdock.protocols.ssh.failures import timed_out, unreachable


T = TypeVar("T")

_CIPHERS = (
    "aes128-gcm@openssh.com",  # by far the cheapest where the processor has AES
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
)
_LOOKS = 8  # how often per timeout it is looked whether anything moves
_KEEPALIVES = 3
_GRACE_SECONDS, _GRACE_ROUNDS = 0.1, 50  # the rounds are the loop's, which may have been held up
_MSG_IGNORE = 2  # RFC 4253 12


class _Client(asyncssh.SSHClient):
    """Hears from the library how far the login is, and when the connection has ended."""

    def __init__(self, trust: Trust, lost: Callable[[Exception | None], None]) -> None:
        self.known = asyncio.Event()
        self.seen = ""
        self._connection: asyncssh.SSHClientConnection | None = None
        self._trust = trust
        self._lost = lost

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        del host, addr, port
        self.seen = key.export_public_key("openssh").decode().strip()
        pinned = key.get_fingerprint() in self._trust.fingerprints
        return pinned or self._trust.first is not None

    def begin_auth(self, username: str) -> None:
        del username
        key = self._connection.get_server_host_key() if self._connection is not None else None
        if key is not None:
            self.seen = key.export_public_key("openssh").decode().strip()
        self.known.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)


class Connection:
    """A connection that is opened step by step, and then runs work of its session."""

    def __init__(self, target: SftpTarget) -> None:
        self._target = target
        self._loop = Loop()
        self._socket: socket.socket | None = None
        self._login: asyncio.Task[asyncssh.SSHClientConnection] | None = None
        self._ssh: asyncssh.SSHClientConnection | None = None
        self._client: _Client | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._moved = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._end: DeliveryError | None = None
        self._session: asyncssh.SFTPClient | None = None

    @property
    def session(self) -> asyncssh.SFTPClient:
        """The SFTP session of a connection that is open."""
        return set_before(self._session)

    def connect(self) -> str:
        """Reach the server; see ``Opening``."""
        target = self._target
        try:
            self._socket = socket.create_connection(
                (target.host, target.port), target.connect_timeout
            )
        except OSError as error:
            reason = "nobody answers" if isinstance(error, TimeoutError) else words(error)
            raise unreachable(f"{target.host}:{target.port}: {reason}") from error
        self._socket.setblocking(False)
        return f"connected to {target.host}:{target.port}"

    def verify(self) -> str:
        """Find out that the server is the right one; see ``Opening``."""
        return self._opened(self._verify())

    def authenticate(self) -> str:
        """Log in; see ``Opening``."""
        return self._opened(self._authenticate())

    def begin(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start work in the session; its errors are DeliveryError or what it raises itself."""
        return self._loop.begin(self._guarded(work))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work in the session, to its end."""
        return self.begin(work).result()

    def moved(self) -> None:
        """Note that the server did something, from within the loop."""
        self._moved = asyncio.get_running_loop().time()

    def abandon(self) -> None:
        """End all work that is under way, and return once it has ended."""
        self._loop.run(self._abandon())

    def close(self) -> None:
        """Close the connection and end the loop."""
        self._loop.run(self._close())
        self._loop.close()

    def _opened(self, step: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run(step)
        except asyncssh.HostKeyNotVerifiable as error:
            seen = set_before(self._client).seen
            seen = fingerprint(seen) if seen else "that was shown"
            raise trust_of(self._target).refusal(seen) from error
        except SESSION_ERRORS as error:
            raise of_opening(error, self._target) from error

    async def _verify(self) -> str:
        trust, credentials = trust_of(self._target), credentials_of(self._target)
        client = self._client = _Client(trust, self._lost)
        self._login = asyncio.ensure_future(
            asyncssh.connect(
                self._target.host,
                self._target.port,
                sock=self._socket,
                config=None,
                client_factory=lambda: client,
                known_hosts=asyncssh.import_known_hosts(trust.known),
                host_key_alias=ALIAS if trust.by_alias else None,
                username=self._target.user,
                password=credentials.password,
                client_keys=[credentials.key] if credentials.key is not None else None,
                agent_path=None,
                gss_host=None,
                preferred_auth=("publickey", "password", "keyboard-interactive"),
                encryption_algs=_CIPHERS,
                compression_algs=("none",),
                login_timeout=0,
                keepalive_interval=max(1.0, self._target.timeout / _KEEPALIVES),
                keepalive_count_max=_KEEPALIVES,
            )
        )
        known = asyncio.ensure_future(client.known.wait())
        try:
            await asyncio.wait(
                {self._login, known},
                timeout=self._target.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            known.cancel()
        if self._login.done():
            self._login.result()
        elif not client.known.is_set():
            raise TimeoutError
        trust.remember(client.seen)
        return f"{fingerprint(client.seen)}, {trust.words}"

    async def _authenticate(self) -> str:
        login = set_before(self._login)
        self._ssh = await asyncio.wait_for(login, self._target.timeout)
        _send_no_ignored(self._ssh)
        start = self._ssh.start_sftp_client()
        self._session = await asyncio.wait_for(start, self._target.timeout)
        self._moved = asyncio.get_running_loop().time()
        self._watch()
        return f"logged in as {self._target.user}"

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        task = set_before(asyncio.current_task())
        if self._end is not None:
            work.close()
            raise self._end
        if not self._running:
            self.moved()
        self._running.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if self._end is not None:
                raise self._end from None
            raise
        except SESSION_ERRORS as error:
            raise self._ended(error) from error
        finally:
            self._running.discard(task)

    def _ended(self, error: Exception) -> DeliveryError:
        """Return what an error means; at the end of the connection, only that."""
        return self._end or of_session(error, self._target)

    async def _abandon(self) -> None:
        running = [*self._running]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _watch(self) -> None:
        """Look now and then whether anything moves, as long as something should."""
        loop = asyncio.get_running_loop()
        if self._running and loop.time() - self._moved > self._target.timeout:
            place = f"{self._target.host}:{self._target.port}"
            self._fail(timed_out(f"{place}: nothing moved for {self._target.timeout:g} s"))
            return
        self._look = loop.call_later(self._target.timeout / _LOOKS, self._watch)

    def _lost(self, error: Exception | None) -> None:
        place = f"{self._target.host}:{self._target.port}"
        reason = words(error) if error is not None else "the server closed the connection"
        self._fail(unreachable(f"{place}: {reason}"))

    def _fail(self, end: DeliveryError) -> None:
        """End everything under way, a moment later: answers may have come together with the end."""
        if self._end is None:
            self._end = end
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._cancel, _GRACE_ROUNDS)
        if self._ssh is not None:
            self._ssh.abort()

    def _cancel(self, rounds: int) -> None:
        """Cancel what is still under way: the library leaves some of it waiting for ever."""
        if rounds:
            asyncio.get_running_loop().call_soon(self._cancel, rounds - 1)
            return
        for task in self._running:
            task.cancel()

    async def _close(self) -> None:
        if self._look is not None:
            self._look.cancel()
        if self._login is not None and self._ssh is None:
            self._login.cancel()
            await asyncio.gather(self._login, return_exceptions=True)
        if self._session is not None and self._end is None:
            self._session.exit()
        if self._ssh is not None:
            self._ssh.close()
            with contextlib.suppress(TimeoutError, *SESSION_ERRORS):
                await asyncio.wait_for(self._ssh.wait_closed(), self._target.connect_timeout)
        if self._socket is not None:
            self._socket.close()


def _send_no_ignored(connection: asyncssh.SSHClientConnection) -> None:
    """Leave out the empty packet that the library sends before each one (RFC 4251 9.3.1).

    It protects ciphers in CBC mode, of which we offer none, and takes a fifth of the time.
    """
    send = connection.send_packet

    def send_packet(kind: int, *arguments: bytes, **options: Any) -> None:
        if kind != _MSG_IGNORE:
            send(kind, *arguments, **options)

    vars(connection)["send_packet"] = send_packet
