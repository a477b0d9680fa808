"""Writes instances below a directory; nothing is reported before it is durable.

Each file is synced before it gets its name, and its directory after. Names come from DICOM values
and are hostile, so directories are entered one component at a time, never through a symbolic link.
"""

import contextlib
import hashlib
import itertools
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from crossdock.config.targets import FolderTarget
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.folder import files
from crossdock.protocols.folder.failures import (
    Unstorable,
    failure,
    of_instance,
    of_target,
)
from crossdock.protocols.payload import Payload, SpoolUnreadable
from crossdock.protocols.placing import COMPLETE, Places
from crossdock.protocols.stages import StageFailed, run_stages


_COMPLETE_MODE = 0o640
_GIGABYTE = 10**9


class FolderAdapter(Adapter):
    """Puts each instance into the file that the target's template names.

    A file of that name with the same dataset means that it was delivered before. One with another
    dataset is kept, and the instance goes beside it, as ``name-2``, ``name-3`` and so on.
    """

    def __init__(self, target: FolderTarget) -> None:
        self._target = target
        self._descriptor = -1
        self._places = Places(target)

    def check(self) -> CheckReport:
        """See ``Adapter.check``; the stages are exists, write and space."""
        return run_stages(
            (
                ("exists", self._check_exists),
                ("write", self._check_write),
                ("space", self._check_space),
            )
        )

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        # Whatever is mounted at the path now, not what was there at the delivery before.
        self.close()
        for outgoing in instances:
            yield self._send(outgoing)

    def finish(self, instances: Sequence[Outgoing]) -> None:
        """Write the ``.complete`` marker into each directory that the delivery has files in."""
        try:
            if self._target.complete_marker:
                self._mark(instances)
        finally:
            self.close()

    def _mark(self, instances: Sequence[Outgoing]) -> None:
        try:
            with of_target(self._target.path):
                for parent in self._places.directories(instances):
                    with files.opened(self._enter(parent)) as directory:
                        self._complete(directory)
        except SpoolUnreadable as error:
            detail = f"a file in the spool cannot be read: {error}"
            raise DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False) from error

    def close(self) -> None:
        """Let go of the directory and of what is known of a delivery."""
        self._places = Places(self._target)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _base(self) -> int:
        """Open the target's own directory; it is never made, or an unmounted share would fill up.

        Raises:
            OSError: it is not there.
        """
        if self._descriptor < 0:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._descriptor = os.open(self._target.path, flags)
        return self._descriptor

    def _enter(self, parent: PurePosixPath) -> int:
        return files.enter(self._base(), parent.parts, int(self._target.directory_mode, 8))

    def _send(self, outgoing: Outgoing) -> InstanceOutcome:
        try:
            with of_target(self._target.path):
                self._base()
                excluded = self._places.excluded(outgoing)
                if excluded is not None:
                    return excluded
                self._store(outgoing)
        except SpoolUnreadable as error:
            detail = f"its file in the spool cannot be read: {error}"
            return outgoing.outcome(Outcome.NOT_SENT, detail=detail)
        except Unstorable as error:
            return outgoing.outcome(Outcome.REFUSED, error.status, error.detail)
        return outgoing.outcome(Outcome.DELIVERED)

    def _store(self, outgoing: Outgoing) -> None:
        with Payload(outgoing) as payload, of_instance():
            name = self._places.path(outgoing)
            with files.opened(self._enter(name.parent)) as directory:
                place = self._free_name(directory, name, payload)
                if place is not None:
                    self._write(outgoing, payload, directory, place)

    def _free_name(self, directory: int, name: PurePosixPath, payload: Payload) -> str | None:
        """Return the first name that is free, None if the instance is here under one before it."""
        for candidate in _candidates(name.name, self._extension()):
            found = files.holds_dataset(directory, candidate, payload.file, payload.offset)
            if found is not False:
                return candidate if found is None else None
        raise AssertionError("there is always a next name")

    def _write(self, outgoing: Outgoing, payload: Payload, directory: int, name: str) -> None:
        if self._target.complete_marker:
            files.remove(directory, COMPLETE)
        temporary = self._temporary(outgoing)
        try:
            with files.opened(files.create(directory, temporary)) as file:
                files.write(file, payload.meta)
                files.copy(payload.file, payload.offset, file)
                os.fchmod(file, int(self._target.file_mode, 8))
                os.fsync(file)
            free: str | None = name
            while free is not None and not files.give_name(directory, temporary, free):
                free = self._free_name(directory, PurePosixPath(name), payload)
        finally:
            with contextlib.suppress(OSError):  # what went wrong before is what counts
                files.remove(directory, temporary)

    def _temporary(self, outgoing: Outgoing) -> str:
        """Return a hidden name that only this instance of this delivery has, in every try."""
        own = f"{self._target.name}/{outgoing.path.parent.name}/{outgoing.path.name}"
        return f".{hashlib.sha256(own.encode()).hexdigest()[:24]}.part"

    def _extension(self) -> str:
        """Return the template's own extension: what comes after a UID's last dot is none."""
        return PurePosixPath("name" + self._target.naming.rpartition("}")[2]).suffix

    def _complete(self, directory: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with files.opened(os.open(COMPLETE, flags, _COMPLETE_MODE, dir_fd=directory)) as marker:
            os.fchmod(marker, int(self._target.file_mode, 8))
            os.fsync(marker)
        files.sync_names(directory)

    def _check_exists(self) -> str:
        try:
            self._base()
        except OSError as error:
            raise _stage_failed(error, self._target.path) from error
        return f"{self._target.path} is a directory"

    def _check_write(self) -> str:
        """Write, name and remove a file, as sending does."""
        probe = f".crossdock-check-{secrets.token_hex(8)}"
        base = self._base()
        try:
            with files.opened(files.create(base, f"{probe}.part")) as file:
                files.write(file, b"check")
                os.fchmod(file, int(self._target.file_mode, 8))
                os.fsync(file)
            files.give_name(base, f"{probe}.part", probe)
        except OSError as error:
            raise _stage_failed(error, self._target.path) from error
        finally:
            for name in (probe, f"{probe}.part"):
                with contextlib.suppress(OSError):  # the first failure is what counts
                    files.remove(base, name)
        return "a file could be written, named and removed"

    def _check_space(self) -> str:
        statistics = os.fstatvfs(self._base())
        free = statistics.f_bavail * statistics.f_frsize
        if not free and statistics.f_blocks:
            raise StageFailed("no space left", "make room, or raise the quota")
        return f"{free / _GIGABYTE:.1f} GB free"


def _stage_failed(error: OSError, path: str) -> StageFailed:
    detail, _, advice = failure(error, path).detail.partition("; ")
    return StageFailed(detail, advice)


def _candidates(name: str, extension: str) -> Iterator[str]:
    """Yield the name itself, and then with ``-2``, ``-3`` … before its extension."""
    yield name
    stem = name.removesuffix(extension)
    for number in itertools.count(2):
        yield f"{stem}-{number}{extension}"
