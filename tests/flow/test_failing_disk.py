"""A disk that fails in the middle: no success that is none, and nothing lost or sent twice."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossdock.cli.demo import demo_gateway
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scu import StorageScu
from ports import free_port
from running import Running, running
from servers.failing_disk import FailingDisk
from studies import by_uid, make_ct
from waiting import until


ARRIVING = [
    ("writev", errno.EIO, "/spool/incoming/"),
    ("writev", errno.ENOSPC, "/spool/incoming/"),
    ("fdatasync", errno.EIO, "/spool/incoming/"),
    ("rename", errno.EROFS, "/spool/incoming/"),
    ("fsync", errno.EIO, "/spool/open/"),
    ("fsync", errno.ENOSPC, "/spool/open/"),
]
JOURNAL = [
    ("write", errno.EIO, "/pending/"),
    ("write", errno.ENOSPC, "/pending/"),
    ("fdatasync", errno.EIO, "/pending/"),
    ("rename", errno.EROFS, "/pending/"),
]
FULL = [("write", errno.ENOSPC, "parcel.json")]
DESCRIBING = [("fsync", errno.EIO, "parcel.json")]
MOVING = [
    ("fsync", errno.EIO, ".pending/"),
    ("rename", errno.EIO, "/spool/open/"),
]


@contextmanager
def gateway(tmp_path: Path, folder: Path, disk: FailingDisk) -> Iterator[tuple[Running, int]]:
    document = demo_gateway(folder)
    document["store_nodes"][0]["port"] = port = free_port()
    with running(tmp_path / "data", document, **disk.environment) as crossdock:
        yield crossdock, port


@contextmanager
def association(port: int, path: Path) -> Iterator[StorageScu]:
    meta = read_file_meta(path)
    with StorageScu("127.0.0.1", port, called_ae_title="CROSSDOCK", calling_ae_title="CT1") as scu:
        scu.associate([(meta.sop_class_uid, (meta.transfer_syntax_uid,))])
        yield scu
        scu.release()


def states(crossdock: Running) -> list[str]:
    return [row["state"] for row in crossdock.deliveries()]


def arrived(folder: Path, count: int, what: str) -> None:
    until(lambda: len(list(folder.rglob("*.dcm"))) == count, what=what)


@pytest.fixture
def disk(tmp_path: Path) -> FailingDisk:
    return FailingDisk(tmp_path / "disk")


def test_what_cannot_be_made_safe_is_answered_with_a700(
    tmp_path: Path, folder: Path, disk: FailingDisk
) -> None:
    paths = make_ct(tmp_path / "study", len(ARRIVING))
    with gateway(tmp_path, folder, disk) as (crossdock, port), association(port, paths[0]) as scu:
        for path, fault in zip(paths, ARRIVING, strict=True):
            meta = read_file_meta(path)
            with disk.failing(*fault):
                assert scu.store(path, meta) == Status.OUT_OF_RESOURCES, fault
            assert scu.store(path, meta) == Status.SUCCESS, fault
        until(crossdock.ready)
        scu.release()
        arrived(folder, len(paths), "all of them")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(paths)
        assert not list((tmp_path / "data/spool/incoming").iterdir())


@pytest.mark.parametrize(
    "faults", [JOURNAL, FULL, DESCRIBING, MOVING], ids=["journal", "full", "describing", "moving"]
)
def test_what_was_accepted_is_delivered_once_when_the_disk_is_well_again(
    tmp_path: Path, folder: Path, disk: FailingDisk, faults: list[tuple[str, int, str]]
) -> None:
    sent: list[Path] = []
    with gateway(tmp_path, folder, disk) as (crossdock, port):
        for number, fault in enumerate(faults):
            paths = make_ct(tmp_path / str(number), 2)
            with disk.failing(*fault), association(port, paths[0]) as scu:
                for path in paths:
                    assert scu.store(path, read_file_meta(path)) == Status.SUCCESS
                scu.release()
            sent += paths
            arrived(folder, len(sent), f"what was sent before {fault}")
        until(lambda: not list((tmp_path / "data/spool/parcels").iterdir()), what="retired")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(sent)
        until(lambda: states(crossdock) == ["delivered"] * len(faults), what="the ledger")
