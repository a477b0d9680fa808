"""Where workers are forked: a process without threads, which has everything loaded.

Loading takes over a second and 60 MB, forking a few milliseconds, and what was loaded is shared. But
a process that has threads must not fork, and a receiver soon has some. So it makes a nursery before,
and asks it for workers, at first and when one has died.
"""

import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from crossdock.errors import CrossdockError


log = structlog.get_logger(__name__)

Work = Callable[[int, socket.socket], int]
"""What a worker does: with its number and its end of a channel, until it returns its exit code."""

_LONGEST = 64


class NurseryError(CrossdockError):
    """The process that forks workers is gone: nobody can replace them any more."""


class Nursery:
    """Starts workers, and knows how they ended. Make it while there is only one thread.

    It ends when the process that made it does.
    """

    def __init__(self, work: Work) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if not self._pid:
            self._socket.close()
            os._exit(_run(lambda: _nurse(theirs, work)))
        theirs.close()

    def start(self, number: int, channel: socket.socket) -> int:
        """Start a worker and return its process.

        Raises:
            OSError: there can be no more processes now.
            NurseryError: there will be none any more.
        """
        pid = self._ask(f"start {number}", [channel.fileno()])
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def wait(self, pid: int) -> int:
        """Wait for the end of a worker and return its exit code, negative for a signal.

        Raises:
            NurseryError: nobody knows it.
        """
        return self._ask(f"wait {pid}", [])

    def close(self) -> None:
        """End the nursery. Workers go on; each ends with its channel."""
        self._socket.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _ask(self, question: str, descriptors: list[int]) -> int:
        with self._lock:
            try:
                socket.send_fds(self._socket, [question.encode()], descriptors)
                answer = self._socket.recv(_LONGEST)
            except OSError as error:
                raise NurseryError(f"workers cannot be started: {error.strerror}") from error
        if not answer:
            raise NurseryError("workers cannot be started: their nursery is gone")
        return int(answer)


def _nurse(sock: socket.socket, work: Work) -> int:
    """Do what is asked until the asking process is gone."""
    os.setsid()  # a Ctrl-C at the terminal is the receiver's to pass on
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as is a signal to all processes of a service
    _detach_stdin()
    gc.collect()
    gc.freeze()  # so that the collector of a worker leaves what is shared untouched
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(sock, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return 0
        if not data:
            return 0
        verb, number = data.decode().split()
        if verb == "start":
            answer = _fork(int(number), descriptors[0], sock, work)
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(int(number), 0)[1])
        with suppress(BrokenPipeError):
            sock.send(str(answer).encode())


def _fork(number: int, descriptor: int, nursery: socket.socket, work: Work) -> int:
    channel = socket.socket(fileno=descriptor)
    try:
        pid = os.fork()
    except OSError as error:
        channel.close()
        return -(error.errno or 1)
    if not pid:
        nursery.close()
        os._exit(_run(lambda: work(number, channel)))
    channel.close()
    return pid


def _run(process: Callable[[], int]) -> int:
    """Return the exit code of a forked process; nothing of what its parent was about is to run."""
    try:
        return process()
    except Exception:  # outermost: what is not told here is told nowhere
        log.exception("worker.failed")
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _detach_stdin() -> None:
    """Leave the pipe of a supervisor to the receiver."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.environ.pop("CROSSDOCK_SUPERVISED", None)
