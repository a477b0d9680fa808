"""Queues as folders, shared by the processes of one machine.

::

    queues/<queue>/ready/<time>-<unique>      a letter, oldest name first
    queues/<queue>/delayed/<time>-<unique>    not before <time>
    owners/<owner>.lock                       locked for as long as that process lives
    taken/<owner>/<queue>/<time>-<unique>     in work there

Every change of state is a rename, so nobody ever sees half a letter, and of two that want the same
one the second finds it gone. The lock of a process that dies is free from that moment: whoever
sees that first gives its letters back. Nothing is synced; the spool is the truth.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator
from heapq import nsmallest
from pathlib import Path


LISTED = 256  # how many names one look into a folder remembers
MODE = 0o700


class Folders:
    """The queues below one directory, as one living process sees them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # As text for what is done fifty times a second, where a Path would cost more than all else.
        self._queues = f"{root}/queues/"
        self.owner = secrets.token_hex(8)
        self._lock: int | None = None
        self._mutex = threading.Lock()
        self._listed: dict[str, deque[str]] = {}
        self._due: dict[str, tuple[int, int]] = {}
        self._last = 0
        self.live()

    def live(self) -> None:
        """Say that this process is alive, again if somebody removed the directory."""
        with self._mutex:
            if self._lock is not None and self._lock_path(self.owner).exists():
                return
            self._unlock()
            (self._root / "owners").mkdir(mode=MODE, parents=True, exist_ok=True)
            # Locked before it has the name that others look for.
            young = self._root / "owners" / f".{self.owner}"
            self._lock = os.open(young, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            young.rename(self._lock_path(self.owner))
            self._mine().mkdir(mode=MODE, parents=True, exist_ok=True)

    def put(self, queue: str, content: bytes, due: float = 0.0) -> None:
        """Add a letter, not to be handed out before the Unix time ``due``.

        Raises:
            FileNotFoundError: it is a queue of somebody who is gone.
        """
        state, moment = ("delayed", int(due * 1e9)) if due else ("ready", self._now())
        name = f"{moment:020d}-{secrets.token_hex(6)}"
        try:
            self._write(name, self._folder(queue, state) / name, content)
        except FileNotFoundError:
            if "@" in queue and not self._folder(queue).exists():
                raise
            self.make(queue)
            self._write(name, self._folder(queue, state) / name, content)

    def make(self, queue: str) -> None:
        """Have a queue, and this process's own places."""
        self.live()
        for folder in (self._folder(queue, "ready"), self._folder(queue, "delayed"), self._mine()):
            folder.mkdir(mode=MODE, parents=True, exist_ok=True)

    def take(self, queue: str) -> tuple[str, bytes] | None:
        """Return the name and content of the oldest letter, which is now ours; None if none is."""
        while (name := self._next(queue)) is not None:
            mine = self._taken(queue, name)
            try:
                self._move(self._folder(queue, "ready") / name, mine)
                return name, mine.read_bytes()
            except FileNotFoundError:
                continue  # somebody else was faster
        return None

    def done(self, queue: str, name: str) -> None:
        """Forget a letter of ours."""
        self._taken(queue, name).unlink(missing_ok=True)

    def give_back(self, queue: str, name: str) -> None:
        """Put a letter of ours back where it was."""
        with contextlib.suppress(FileNotFoundError):
            self._move(self._taken(queue, name), self._folder(queue, "ready") / name)

    def waiting(self, queue: str) -> bool:
        """Whether a queue has a letter to hand out."""
        try:
            with os.scandir(f"{self._queues}{queue}/ready") as entries:
                return next(entries, None) is not None
        except FileNotFoundError:
            return False

    def size(self, queue: str) -> int:
        """Return how many letters a queue has to hand out."""
        self.promote(queue)
        return len(_names(self._folder(queue, "ready")))

    def promote(self, queue: str) -> None:
        """Make the delayed letters ready whose time has come."""
        now = time.time_ns()
        try:
            changed = os.stat(f"{self._queues}{queue}/delayed").st_mtime_ns  # noqa: PTH116 — see there
        except FileNotFoundError:
            return
        seen, earliest = self._due.get(queue, (-1, 0))
        if changed == seen and earliest > now:
            return
        later = []
        folder = self._folder(queue, "delayed")
        for name in _names(folder):
            if _moment(name) > now:
                later.append(_moment(name))
                continue
            with contextlib.suppress(FileNotFoundError):
                self._move(folder / name, self._folder(queue, "ready") / name)
        # A folder's time has the grain of a clock tick: one that changed just now may do so again.
        settled = changed if now - changed > 100_000_000 else -1  # noqa: PLR2004 — nanoseconds
        self._due[queue] = (settled, min(later, default=now + 10**18))

    def delete(self, queue: str) -> None:
        """Remove a queue with all that is in it."""
        self._listed.pop(queue, None)
        gone = self._mine() / f".{secrets.token_hex(6)}"
        with contextlib.suppress(FileNotFoundError):
            self._folder(queue).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def own(self, kind: str) -> str:
        """Make a queue that lives no longer than this process, and return its name."""
        name = f"{kind}@{self.owner}-{secrets.token_hex(4)}"
        self.make(name)
        return name

    def owned(self, kind: str) -> list[str]:
        """Return all living queues of a kind that were made by ``own``."""
        names = [name for name in _names(self._root / "queues") if name.startswith(f"{kind}@")]
        return [name for name in names if self._lives(_owner(name))]

    def reap(self) -> None:
        """Give back what processes held that are dead, and remove the queues of their own."""
        for entry in _names(self._root / "owners"):
            owner = entry.removesuffix(".lock")
            if owner != self.owner and not entry.startswith("."):
                with self._dead(owner) as dead:
                    if dead:
                        self._inherit(owner)

    def close(self) -> None:
        """Let go of everything, as if this process had died."""
        with self._mutex:
            if self._lock is not None:
                self._inherit(self.owner)
                self._unlock()

    def _inherit(self, owner: str) -> None:
        """Give back what a process held, then forget it."""
        theirs = self._root / "taken" / owner
        for queue in _names(theirs):
            if not queue.startswith("."):
                for name in _names(theirs / queue):
                    self._restore(theirs / queue / name, queue)
        for queue in _names(self._root / "queues"):
            if "@" in queue and _owner(queue) == owner:
                shutil.rmtree(self._folder(queue), ignore_errors=True)
        shutil.rmtree(theirs, ignore_errors=True)
        self._lock_path(owner).unlink(missing_ok=True)

    def _restore(self, letter: Path, queue: str) -> None:
        if "@" not in queue:
            ready = self._folder(queue, "ready")
            ready.mkdir(mode=MODE, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                letter.rename(ready / letter.name)

    @contextlib.contextmanager
    def _dead(self, owner: str) -> Iterator[bool]:
        """Tell whether a process is dead; meanwhile nobody else can find out the same."""
        try:
            lock = os.open(self._lock_path(owner), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False  # somebody else was faster
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(lock)

    def _lives(self, owner: str) -> bool:
        if owner == self.owner:
            return True
        with self._dead(owner) as dead:
            return not dead and self._lock_path(owner).exists()

    def _next(self, queue: str) -> str | None:
        """Return the next name to try, looking into the folder when the last look is used up."""
        with self._mutex:
            listed = self._listed.setdefault(queue, deque())
            if not listed:
                listed.extend(nsmallest(LISTED, _names(self._folder(queue, "ready"))))
            return listed.popleft() if listed else None

    def _write(self, name: str, place: Path, content: bytes) -> None:
        young = self._mine() / f".{name}"
        young.write_bytes(content)
        young.rename(place)

    def _move(self, source: Path, place: Path) -> None:
        """Rename; the place's folder may not exist yet.

        Raises:
            FileNotFoundError: the source is gone.
        """
        try:
            source.rename(place)
        except FileNotFoundError:
            place.parent.mkdir(mode=MODE, parents=True, exist_ok=True)
            source.rename(place)

    def _now(self) -> int:
        """Return the time in nanoseconds, later than ever before in this process."""
        with self._mutex:
            self._last = max(self._last + 1, time.time_ns())
            return self._last

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _folder(self, queue: str, state: str = "") -> Path:
        return self._root / "queues" / queue / state

    def _mine(self) -> Path:
        return self._root / "taken" / self.owner

    def _taken(self, queue: str, name: str) -> Path:
        return self._mine() / queue / name

    def _lock_path(self, owner: str) -> Path:
        return self._root / "owners" / f"{owner}.lock"


def _names(folder: Path) -> list[str]:
    """Return the names in a folder, none if it does not exist."""
    try:
        return os.listdir(folder)  # noqa: PTH208 — iterdir makes a Path of each of 10 000 names
    except FileNotFoundError:
        return []


def _moment(name: str) -> int:
    """Return the nanoseconds that a letter's name begins with, 0 if it is not one of ours."""
    digits = name.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _owner(queue: str) -> str:
    """Return who made a queue of its own."""
    return queue.rpartition("@")[2].partition("-")[0]
