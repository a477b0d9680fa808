"""One worker as its receiver sees it: started, spoken to, replaced when it dies."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import structlog
from prometheus_client import Counter, Gauge

from receiver.workers import words
from receiver.workers.channel import Channel
from receiver.workers.nursery import Nursery, NurseryError


log = structlog.get_logger(__name__)

CONNECTIONS = Gauge("crossdock_worker_connections", "Connections that a worker has.", ["worker"])
DIED = Counter("crossdock_workers_died", "Worker processes that ended unasked.")

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_ANSWER_SECONDS = 5.0
_STABLE_SECONDS = 30.0  # one that lived this long starts again soon

Configuration = tuple[int, bytes]
"""A revision, and its store nodes as JSON."""


class Worker:
    """Worker ``number``, whichever process that is now.

    ``heard`` is called with what it says, in one thread; the answer, if there is one, is sent back.
    ``ended`` is called when the process is gone, and ``lost`` when there can be no other any more.
    """

    def __init__(
        self,
        number: int,
        nursery: Nursery,
        heard: Callable[[words.Words], words.Words | None],
        ended: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self.number = number
        self.connections = 0
        CONNECTIONS.labels(number).set(0)
        self._nursery = nursery
        self._heard = heard
        self._ended = ended
        self._lost = lost
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._pid = 0
        self._revision = 0
        self._wanted: Configuration | None = None
        self._grace: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    def start(self) -> None:
        """Start the process, and another whenever it dies."""
        self._thread.start()

    @property
    def load(self) -> tuple[bool, int]:
        """How little it should be given a connection: less is better."""
        return self.problem() is not None, self.connections

    def problem(self) -> str | None:
        """Return why it does not serve as configured, None if it does."""
        with self._lock:
            if self._channel is None:
                return f"worker {self.number} is not running"
            if self._wanted is not None and self._revision != self._wanted[0]:
                return f"worker {self.number} has not taken revision {self._wanted[0]} yet"
        return None

    def configure(self, configuration: Configuration) -> None:
        """Have it serve by a configuration from now on, and so each process after it."""
        with self._lock:
            self._wanted = configuration
            self._send_configuration()

    def serve(self, said: words.Serve, sock: socket.socket) -> bool:
        """Give it a connection; False if it cannot take one."""
        with self._lock:
            try:
                self._say(said, sock.fileno(), seconds=0.0)
            except OSError:
                return False
            self.connections += 1
            CONNECTIONS.labels(self.number).set(self.connections)
        return True

    def stop(self, grace: float) -> None:
        """Ask it to end; ``join`` waits for that."""
        with self._lock:
            self._grace = grace
            self._stopping.set()
            self._send_stop()

    def join(self, deadline: float) -> None:
        """Wait until the process is gone, and end it at ``deadline``."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            log.error("worker.killed", worker=self.number)
            with self._lock:
                self._kill()
            self._thread.join()

    def _run(self) -> None:
        delay = _FIRST_DELAY
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                code = self._live()
            except NurseryError as error:
                if not self._stopping.is_set():
                    log.error("worker.lost", worker=self.number, reason=str(error))
                    self._lost()
                return
            except OSError as error:
                log.error("worker.not_started", worker=self.number, reason=error.strerror)
                code = None
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _STABLE_SECONDS:
                delay = _FIRST_DELAY
            DIED.inc()
            log.error("worker.died", worker=self.number, exit_code=code, restart_in_seconds=delay)
            self._stopping.wait(delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    def _live(self) -> int:
        """See one process from its start to its end, and return its exit code."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                pid = self._nursery.start(self.number, theirs)
        except (OSError, NurseryError):
            ours.close()
            raise
        channel = Channel(ours)
        log.info("worker.started", worker=self.number, pid=pid)
        with self._lock:
            self._channel, self._pid = channel, pid
            self._send_configuration()
            self._send_stop()
        try:
            self._converse(channel)
        finally:
            with self._lock:
                self._channel, self._revision, self.connections = None, 0, 0
                CONNECTIONS.labels(self.number).set(0)
            channel.close()
            self._ended()
        return self._nursery.wait(pid)

    def _converse(self, channel: Channel) -> None:
        while (received := channel.receive()) is not None:
            said, _ = received
            match said:
                case words.Closed():
                    with self._lock:
                        self.connections -= 1
                        CONNECTIONS.labels(self.number).set(self.connections)
                case words.Configured():
                    self._revision = said.revision
                case _:
                    answer = self._heard(said)
                    if answer is not None:
                        # If it died, that is about to be heard; if not, it has given up asking.
                        with contextlib.suppress(OSError):
                            channel.send(answer, seconds=_ANSWER_SECONDS)

    def _say(
        self, said: words.Words, descriptor: int | None = None, *, seconds: float = 1.0
    ) -> None:
        if self._channel is None:
            raise ConnectionAbortedError("it is not running")
        self._channel.send(said, descriptor, seconds=seconds)

    def _send_configuration(self) -> None:
        if self._wanted is None or self._channel is None:
            return
        revision, document = self._wanted
        file = os.memfd_create("store-nodes")
        try:
            os.write(file, document)
            self._say(words.Configure(revision=revision), file)
        except OSError:
            self._kill()  # it does not listen any more; the next one will
        finally:
            os.close(file)

    def _send_stop(self) -> None:
        if self._grace is not None:
            with contextlib.suppress(OSError):  # then it ends at the deadline
                self._say(words.Stop(grace=self._grace))

    def _kill(self) -> None:
        if self._channel is not None:
            # Nobody has waited for it yet, so the number is still its own.
            os.kill(self._pid, signal.SIGKILL)
