"""Programs under measurement: started, waited for, asked for CPU time and peak memory, ended."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 30.0
_ASK_SECONDS = 0.02
"""Between two looks at what is waited for: seldom enough to take nothing from what is measured."""
_PEAK_SECONDS = 0.005
"""Between two looks at memory: often enough to see the peak of a program that soon ends."""
_ESTABLISHED = "01"
NO_DELAY = {"TCP_NODELAY": "1"}
"""What DCMTK needs in its environment so as not to wait 40 ms in each exchange."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running program with all its child processes."""

    pid: int
    port: int

    def cpu(self) -> float:
        """Return the CPU seconds used so far, those of ended children included."""
        return sum(map(_cpu, self._pids()))

    def forget_peak(self) -> int:
        """Start a new peak of memory; return the bytes in use now."""
        for pid in self._pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        return max(_memory(pid, "VmRSS") for pid in self._pids())

    def peak(self) -> int:
        """Return the most bytes that any one of the processes has used."""
        return max(_memory(pid, "VmHWM") for pid in self._pids())

    def connected(self) -> bool:
        """Whether anybody on this machine has a connection to the port."""
        fields = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        peer = f":{self.port:04X}"
        return any(line[2].endswith(peer) and line[3] == _ESTABLISHED for line in fields)

    def _pids(self) -> list[int]:
        found, left = [], [self.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    left += map(int, (task / "children").read_text().split())
        return found


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _memory(pid: int, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[object], port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a program until the block ends; the block begins when it listens on ``port``."""
    process = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        if port:
            wait_for(lambda: _listens(process, port), _START_SECONDS, f"port {port}")
        yield Server(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def wait_for(
    condition: Callable[[], bool], seconds: float, what: str, *, every: float = _ASK_SECONDS
) -> None:
    """Wait until a condition holds; ``every`` so many seconds it is looked at.

    Raises:
        RuntimeError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


@dataclass(frozen=True, slots=True)
class Ran:
    """What programs that ran side by side took: wall and CPU seconds, peak bytes of any one."""

    seconds: float
    cpu: float
    peak: int
    output: tuple[str, ...]


def run_all(
    commands: Sequence[Sequence[object]], environment: Mapping[str, str] | None = None
) -> Ran:
    """Run programs side by side to their ends.

    Raises:
        RuntimeError: one of them failed.
    """
    began = time.perf_counter()
    running = [
        subprocess.Popen(
            list(map(str, command)),
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    cpu, peak, left = 0.0, 0, list(running)
    while left:
        # What wait4 calls the peak begins with that of this process, so it is asked for here.
        peak = max(peak, *(_memory(each.pid, "VmHWM") for each in left))
        for each in list(left):
            pid, status, usage = os.wait4(each.pid, os.WNOHANG)
            if pid:
                left.remove(each)
                each.returncode = os.waitstatus_to_exitcode(status)
                cpu += usage.ru_utime + usage.ru_stime
        if left:
            time.sleep(_PEAK_SECONDS)
    seconds = time.perf_counter() - began
    output = tuple(each.communicate()[0].decode() for each in running)
    if any(each.returncode for each in running):
        raise RuntimeError(f"{commands[0][:6]!r} failed: {[each.returncode for each in running]}")
    return Ran(seconds, cpu, peak, output)
