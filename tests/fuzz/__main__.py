"""Feeds damaged input until a number of them or a time is reached, and judges what that did.

Usage, in ``tests``: ``python -m fuzz [INPUTS] [SECONDS] [SEED]``; by default a million inputs or ten
minutes, whichever comes first, and a new seed each time, which is printed.
"""

import faulthandler
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import structlog

from crossdock.dicom.storage_scp import StorageScp
from fuzz.conversations import Forgetful, converse
from fuzz.damage import damaged
from fuzz.subjects import subjects


HANG_SECONDS = 20.0
SLOW_SECONDS = 1.0
GROWTH_BYTES = 16 * 1024 * 1024
_CONVERSATION_EVERY = 200  # inputs


@dataclass(frozen=True, slots=True)
class Limits:
    """When feeding ends: whichever comes first."""

    inputs: int
    seconds: float


@dataclass
class Result:
    """What feeding did.

    ``slowest`` is the most processor time that an input took, in seconds; ``growth`` that of
    resident memory after the first tenth, in bytes.
    """

    seed: int
    fed: int = 0
    conversations: int = 0
    slowest: float = 0.0
    growth: int = 0
    left_behind: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.left_behind and self.slowest < SLOW_SECONDS and self.growth < GROWTH_BYTES


def run(inputs: int, seconds: float, seed: int) -> Result:
    """Feed up to ``inputs`` for up to ``seconds``; whatever a subject raises is raised."""
    result = Result(seed)
    handler = Forgetful()
    scp = StorageScp("127.0.0.1", 0, handler, acse_timeout=2, dimse_timeout=2, idle_timeout=2)
    threads = threading.active_count()
    files = _open_files()
    scp.start()
    try:
        with tempfile.TemporaryDirectory() as directory:
            _feed(result, Limits(inputs, seconds), Path(directory), scp)
        deadline = time.monotonic() + HANG_SECONDS
        while scp.associations() and time.monotonic() < deadline:
            time.sleep(0.01)  # the poll's own step, bounded by the deadline above
    finally:
        scp.stop(2.0)
    result.left_behind = _left_behind(handler, threads, files)
    return result


def _feed(result: Result, limits: Limits, directory: Path, scp: StorageScp) -> None:
    deadline, start = time.monotonic() + limits.seconds, 0
    random, inputs = Random(result.seed), limits.inputs
    every = subjects(directory)
    while result.fed < inputs and time.monotonic() < deadline:
        subject = every[result.fed % len(every)]
        data = damaged(random.choice(subject.seeds), random)
        before = time.thread_time()
        try:
            subject.feed(data)
        except BaseException:
            sys.stdout.write(f"{subject.name}, input {result.fed}: {data.hex()}\n")
            raise
        result.slowest = max(result.slowest, time.thread_time() - before)
        result.fed += 1
        if result.fed % _CONVERSATION_EVERY == 0:
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            converse(scp, random)
            result.conversations += 1
        if result.fed == max(inputs // 10, 1):
            start = _resident()
    faulthandler.cancel_dump_traceback_later()
    result.growth = _resident() - start if start else 0


def _left_behind(handler: Forgetful, threads: int, files: int) -> list[str]:
    found = {
        "threads": threading.active_count() - threads,
        "files": _open_files() - files,
        "associations": handler.admitted - handler.over,
        "writers": handler.open,
    }
    return [f"{count} {what}" for what, count in found.items() if count]


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 — it counts itself, the same each time


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: list[str]) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    inputs, seconds, seed = [int(each) for each in arguments] + [
        1_000_000,
        600,
        int.from_bytes(os.urandom(4)),
    ][len(arguments) :]
    began = time.monotonic()
    result = run(inputs, seconds, seed)
    sys.stdout.write(
        f"seed {result.seed}: {result.fed} inputs and {result.conversations} conversations"
        f" in {time.monotonic() - began:.0f} s; the slowest took {result.slowest * 1000:.1f} ms of CPU;"
        f" memory grew by {result.growth / 1e6:.1f} MB; left behind: {result.left_behind or 'nothing'}\n"
    )
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
