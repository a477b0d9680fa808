"""Writes instances below a directory; nothing is reported before it is durable.

Each file is synced before it gets its name, and its directory after. Names come from DICOM values
and are hostile, so directories are entered one component at a time, never through a symbolic link.
"""

import contextlib
import itertools
import os
import secrets
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from crossdock.config.targets import FolderTarget
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.failures import InstanceRefused, SpoolUnreadable
from crossdock.protocols.folder import files
from crossdock.protocols.folder.failures import of_instance, of_target
from crossdock.protocols.folder.owner import Owner, find_owner
from crossdock.protocols.in_order import in_order
from crossdock.protocols.payload import Payload
from crossdock.protocols.placing import COMPLETE, Places, temporary_name
from crossdock.protocols.stages import StageFailed, run_stages


_COMPLETE_MODE = 0o640
_GIGABYTE = 10**9
_AT_ONCE = 4  # instances under way: their syncs share the file system's journal


class FolderAdapter(Adapter):
    """Puts each instance into the file that the target's template names.

    A file of that name with the same dataset means that it was delivered before. One with another
    dataset is kept, and the instance goes beside it, as ``name-2``, ``name-3`` and so on.
    """

    def __init__(self, target: FolderTarget) -> None:
        self._target = target
        self._descriptor = -1
        self._opening = threading.Lock()
        self._entered: set[PurePosixPath] = set()
        self._owner: Owner | None = None
        self._sending: Generator[InstanceOutcome, None, None] | None = None
        self._places = Places(target)

    def check(self) -> CheckReport:
        """See ``Adapter.check``; the stages are exists, owner if one is set, write and space."""
        owner = (("owner", self._check_owner),) if self._target.owner else ()
        return run_stages(
            (
                ("exists", self._check_exists),
                *owner,
                ("write", self._check_write),
                ("space", self._check_space),
            )
        )

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``. A few instances are under way at once."""
        # Whatever is mounted at the path now, not what was there at the delivery before.
        self.close()
        self._entered.clear()
        self._sending = in_order(self._send, instances, _AT_ONCE)
        return self._sending

    def finish(self, instances: Sequence[Outgoing]) -> None:
        """Write the ``.complete`` marker into each directory that the delivery has files in."""
        try:
            if self._target.complete_marker:
                self._mark(instances)
        finally:
            self.close()

    def _mark(self, instances: Sequence[Outgoing]) -> None:
        with of_target(self._target.path):
            for parent in self._places.directories(instances):
                with files.opened(self._enter(parent)) as directory:
                    self._complete(directory)

    def close(self) -> None:
        """Let go of the directory, once what is under way has ended."""
        self._stop()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _stop(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.close()

    def _base(self) -> int:
        """Open the target's own directory; it is never made, or an unmounted share would fill up.

        Raises:
            OSError: it is not there.
        """
        with self._opening:
            if self._descriptor < 0:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                self._descriptor = os.open(self._target.path, flags)
            return self._descriptor

    def _enter(self, parent: PurePosixPath) -> int:
        """Open a directory below the target's own.

        Only one thread makes it, so that no other relies on a name that is not durable yet.
        """
        base = self._base()
        if parent in self._entered:
            return files.enter(base, parent.parts, self._dress_directory)
        with self._opening:
            descriptor = files.enter(base, parent.parts, self._dress_directory)
            self._entered.add(parent)
            return descriptor

    def _dress_directory(self, descriptor: int) -> None:
        """Set the mode of a directory that was made, and its owner last: then it is not ours."""
        os.fchmod(descriptor, int(self._target.directory_mode, 8))  # mkdir's is cut by the umask
        self._give(descriptor)

    def _dress_file(self, descriptor: int) -> None:
        """Set the mode and the owner of a file, and make it durable."""
        os.fchmod(descriptor, int(self._target.file_mode, 8))
        self._give(descriptor)
        os.fsync(descriptor)

    def _give(self, descriptor: int) -> None:
        if self._target.owner:
            self._owner = self._owner or find_owner(self._target.owner)
            self._owner.give(descriptor)

    def _send(self, outgoing: Outgoing) -> InstanceOutcome:
        try:
            with of_target(self._target.path):
                self._base()
                excluded = self._places.excluded(outgoing)
                if excluded is not None:
                    return excluded
                self._store(outgoing)
        except (InstanceRefused, SpoolUnreadable) as error:
            return error.outcome(outgoing)
        return outgoing.outcome(Outcome.DELIVERED)

    def _store(self, outgoing: Outgoing) -> None:
        with Payload(outgoing) as payload, of_instance():
            name = self._places.path(outgoing)
            temporary = temporary_name(self._target, outgoing)
            with files.opened(self._enter(name.parent)) as directory:
                try:
                    free = self._free_name(directory, name, payload)
                    if free is not None:
                        self._write(payload, directory, name, temporary, free)
                finally:  # also what an earlier try left, killed when the name was just given
                    with contextlib.suppress(OSError):  # what went wrong before is what counts
                        files.remove(directory, temporary)

    def _free_name(self, directory: int, name: PurePosixPath, payload: Payload) -> str | None:
        """Return the first name that is free, None if the instance is here under one before it."""
        for candidate in _candidates(name.name, self._extension()):
            found = files.holds_dataset(directory, candidate, payload.file, payload.offset)
            if found is not False:
                return candidate if found is None else None
        raise AssertionError("there is always a next name")

    def _write(
        self, payload: Payload, directory: int, name: PurePosixPath, temporary: str, first: str
    ) -> None:
        """Write a file and give it the ``first`` name, or the next if that is taken meanwhile."""
        if self._target.complete_marker:
            files.remove(directory, COMPLETE)
        with files.opened(files.create(directory, temporary)) as file:
            files.write(file, payload.meta)
            files.copy(payload.file, payload.offset, file, self.pace)
            self._dress_file(file)
        free: str | None = first
        while free is not None and not files.give_name(directory, temporary, free):
            free = self._free_name(directory, name, payload)

    def _extension(self) -> str:
        """Return the template's own extension: what comes after a UID's last dot is none."""
        return PurePosixPath("name" + self._target.naming.rpartition("}")[2]).suffix

    def _complete(self, directory: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        if self._target.owner:
            files.remove(directory, COMPLETE)  # one that was given away is not ours to change
        with files.opened(os.open(COMPLETE, flags, _COMPLETE_MODE, dir_fd=directory)) as marker:
            self._dress_file(marker)
        files.sync_names(directory)

    def _check_exists(self) -> str:
        with of_target(self._target.path):
            self._base()
        return f"{self._target.path} is a directory"

    def _check_owner(self) -> str:
        owner = find_owner(self._target.owner)
        parts = (("user", owner.user), ("group", owner.group))
        numbers = (f"{name} {number}" for name, number in parts if number >= 0)
        return f"{owner.words} is {' and '.join(numbers)}"

    def _check_write(self) -> str:
        """Write, name and remove a file, as sending does."""
        probe = f".crossdock-check-{secrets.token_hex(8)}"
        base = self._base()
        try:
            with of_target(self._target.path):
                with files.opened(files.create(base, f"{probe}.part")) as file:
                    files.write(file, b"check")
                    self._dress_file(file)
                files.give_name(base, f"{probe}.part", probe)
        finally:
            for name in (probe, f"{probe}.part"):
                with contextlib.suppress(OSError):  # the first failure is what counts
                    files.remove(base, name)
        given = f", given to {self._target.owner}" if self._target.owner else ""
        return f"a file could be written{given}, named and removed"

    def _check_space(self) -> str:
        statistics = os.fstatvfs(self._base())
        free = statistics.f_bavail * statistics.f_frsize
        if not free and statistics.f_blocks:
            raise StageFailed("no space left", "make room, or raise the quota")
        return f"{free / _GIGABYTE:.1f} GB free"


def _candidates(name: str, extension: str) -> Iterator[str]:
    """Yield the name itself, and then with ``-2``, ``-3`` … before its extension."""
    yield name
    stem = name.removesuffix(extension)
    for number in itertools.count(2):
        yield f"{stem}-{number}{extension}"
