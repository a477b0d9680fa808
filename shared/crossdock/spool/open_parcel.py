"""A parcel that still grows, and what becomes of it when its receiver dies."""

import errno
import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.errors import DicomError
from crossdock.faults import reached
from crossdock.model import Frozen, Instance, Parcel, new_id
from crossdock.spool.durable import SharedSync, move, sync_directory, try_lock, write_file
from crossdock.spool.incoming import Arrival


ORIGIN = "origin.json"
PARCEL = "parcel.json"


class Origin(Frozen):
    """What all instances of a parcel have in common; written when the parcel is opened."""

    id: str
    store_node: str
    calling_ae_title: str
    address: str
    study_instance_uid: str
    series_instance_uid: str
    received_at: float


class OpenParcel:
    """A directory below ``open/`` that belongs to this process for as long as it lives.

    Whose it is, the lock of its origin's file says. Not thread-safe but for ``add``, which threads
    may call with different numbers.
    """

    def __init__(self, path: Path, origin: Origin, lock: int) -> None:
        self.path = path
        self.origin = origin
        self._folder = f"{path}{os.sep}"
        self._lock = lock
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._names = SharedSync(self._descriptor)

    @classmethod
    def create(cls, incoming: Path, opened: Path, origin: Origin) -> "OpenParcel":
        """Open a parcel. It is locked before others can see it.

        Raises:
            OSError: the disk is full or read-only.
        """
        made = incoming / f"{origin.id}.new"
        made.mkdir(mode=0o750)
        write_file(made / ORIGIN, origin.model_dump_json().encode())
        lock = os.open(made / ORIGIN, os.O_RDWR | os.O_CLOEXEC)
        try:
            try_lock(lock)
            move(made, opened / origin.id)
            return cls(opened / origin.id, origin, lock)
        except OSError:
            os.close(lock)
            raise

    @classmethod
    def adopt(cls, path: Path) -> "OpenParcel | None":
        """Take over a parcel whose receiver died; None if it lives, or the parcel is gone."""
        try:
            # One that lost its origin is to go on all the same.
            lock = os.open(path / ORIGIN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except FileNotFoundError:
            return None
        with ExitStack() as unless_adopted:
            unless_adopted.callback(os.close, lock)
            if not try_lock(lock) or not path.exists():
                return None
            adopted = cls(path, _read_origin(path), lock)
            unless_adopted.pop_all()
            return adopted

    def add(self, arrival: Arrival, number: int, *, sync: bool = True) -> None:
        """Make an instance safe as number ``number`` of this parcel; without ``sync``, only add it.

        Raises:
            OSError: it is not safe, and not there.
        """
        name = f"{self._folder}{number}.dcm"
        arrival.place(name, sync=sync)
        reached("receiver.renamed")
        if sync:
            try:
                self._names.sync()
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise

    def sync(self, numbers: Iterable[int]) -> None:
        """Make instances safe that were added without ``sync``.

        Raises:
            OSError: they are not safe.
        """
        for number in numbers:
            descriptor = os.open(f"{self._folder}{number}.dcm", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        self._names.sync()

    def close(self, parcels: Path, instances: tuple[Instance, ...]) -> Parcel:
        """Finish the parcel: from now on it is in ``parcels`` and does not grow.

        Raises:
            OSError: the disk is full or read-only; the parcel stays open and may be closed later.
        """
        parcel = Parcel(**self.origin.model_dump(), closed_at=time.time(), instances=instances)
        write_file(self.path / PARCEL, parcel.model_dump_json().encode())
        move(self.path, parcels / parcel.id)
        self.abandon()
        return parcel

    def abandon(self) -> None:
        """Let go of the parcel without closing it; whoever adopts it closes it."""
        descriptors, self._descriptor, self._lock = (self._descriptor, self._lock), -1, -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def remove(self) -> None:
        """Remove a parcel without instances."""
        for file in list(self.path.iterdir()):
            if file.name != ORIGIN:
                file.unlink()
        self.abandon()  # NFS keeps a file that is open, and its directory
        try:
            (self.path / ORIGIN).unlink(missing_ok=True)
            self.path.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise
            return  # adopted just now, and so removed by another
        sync_directory(self.path.parent)

    def found_instances(self) -> tuple[Instance, ...]:
        """Return the instances as their files tell, in order; for an adopted parcel."""
        files = sorted(self.path.glob("*.dcm"), key=lambda file: int(file.stem))
        return tuple(_found(file) for file in files)


def _read_origin(path: Path) -> Origin:
    """Return a parcel's origin; one that is damaged is replaced, for its instances must go on."""
    try:
        return Origin.model_validate_json((path / ORIGIN).read_bytes())
    except (OSError, ValueError):
        return Origin(
            id=path.name or new_id(),
            store_node="",
            calling_ae_title="",
            address="",
            study_instance_uid="",
            series_instance_uid="",
            received_at=path.stat().st_mtime,
        )


def _found(file: Path) -> Instance:
    """Return an instance as its file tells; one whose meta is damaged goes on without its UIDs."""
    try:
        meta = read_file_meta(file)
    except DicomError:
        meta = FileMeta("", "", "", "", "", "", dataset_offset=0, size=file.stat().st_size)
    return Instance(
        number=int(file.stem),
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=meta.size,
        calling_ae_title=meta.calling_ae_title,
        called_ae_title=meta.called_ae_title,
        address=meta.address,
    )
