"""Memory does not grow with the size of an instance: processes of their own, and their peaks."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import launching
from crossdock.dicom.part10 import read_file_meta
from ports import free_port
from receivers import workers
from servers.dcmtk import listens, storescp
from servers.samples import write_instance
from waiting import until


SIZE = 300_000_000
HUGE = 2_200_000_000  # more than a signed number of 32 bits can count
MOST = 80_000_000

SENDER = """
import resource, sys
from pathlib import Path
from crossdock.config.targets import DicomTarget
from crossdock.dicom.part10 import read_file_meta
from crossdock.model import Instance
from crossdock.protocols import Outgoing, adapter_for
def used(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
path, meta = Path(sys.argv[1]), read_file_meta(Path(sys.argv[1]))
instance = Instance(number=1, sop_class_uid=meta.sop_class_uid, calling_ae_title="", address="",
    sop_instance_uid=meta.sop_instance_uid, transfer_syntax_uid=meta.transfer_syntax_uid,
    size=meta.size, called_ae_title="")
target = DicomTarget(name="t", type="dicom", host="127.0.0.1", port=int(sys.argv[2]),
    called_ae_title="ANY-SCP", max_pdu=int(sys.argv[3]))
before = used("VmRSS")
with adapter_for(target) as adapter:
    assert [each.confirmed for each in adapter.send([Outgoing(instance, path)])] == [True]
print(used("VmHWM") - before)
"""


def used(pid: int, field: str) -> int:
    """Bytes of memory as the kernel counts them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def send(path: Path, port: int, max_pdu: int = 131072) -> int:
    """Send a file from a process of its own; return by how many bytes that grew."""
    command = [sys.executable, "-c", SENDER, str(path), str(port), str(max_pdu)]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)


@contextmanager
def receiver(data: Path) -> Iterator[tuple[int, int]]:
    """Run ``crossdock receiver`` with one store node; yield its process and port."""
    port = free_port()
    node = {"name": "n", "ae_title": "ANY-SCP", "port": port, "accept": "any"}
    published = {
        "type": "config.published",
        "revision": 1,
        "document": {"store_nodes": [node]},
    }
    copy = data / "config" / "receiver.json"
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps(published))
    chosen = {"CROSSDOCK_DATA": str(data), "CROSSDOCK_HTTP": "127.0.0.1:0"}
    command = (launching.SERVICES, "receiver", "--workers", "2")
    with launching.start(*command, log=data.parent / "log", environment=chosen) as process:
        try:
            until(lambda: listens(port), what="the receiver listens")
            yield process.pid, port
        finally:
            process.terminate()


def test_receiving_300_mb_takes_no_more_memory_than_receiving_a_little(tmp_path: Path) -> None:
    write_instance(tmp_path / "large.dcm", SIZE)
    with receiver(tmp_path / "data") as (pid, port):
        pids = [pid, *until(lambda: workers(pid), what="workers")]
        idle = [used(each, "VmRSS") for each in pids]
        send(tmp_path / "large.dcm", port)
        grown = max(used(each, "VmHWM") - before for each, before in zip(pids, idle, strict=True))
    assert grown < MOST


def test_sending_300_mb_takes_no_more_memory_than_sending_a_little(tmp_path: Path) -> None:
    write_instance(tmp_path / "large.dcm", SIZE)
    with storescp(tmp_path / "peer", "--ignore") as peer:
        assert send(tmp_path / "large.dcm", peer.port) < MOST


def test_sending_300_mb_in_small_pdus_neither(tmp_path: Path) -> None:
    write_instance(tmp_path / "large.dcm", SIZE)
    with storescp(tmp_path / "peer", "--ignore", "--max-pdu", "4096") as peer:
        assert send(tmp_path / "large.dcm", peer.port, 4096) < MOST


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A directory for gigabytes: in memory where there is room, so that no disk has to be fast."""
    shared = Path("/dev/shm")  # noqa: S108 — a directory of our own is made in it
    in_memory = shared.is_dir() and shutil.disk_usage(shared).free > 3 * HUGE
    with tempfile.TemporaryDirectory(dir=shared if in_memory else tmp_path) as directory:
        yield Path(directory)


def outline(path: Path, start: int) -> tuple[int, list[bytes]]:
    """The length of a dataset, and its parts that are no holes: its ends, and around 2 GiB."""
    size = path.stat().st_size - start
    with path.open("rb") as file:
        offsets = (0, 2**31 - 100_000, size - 200_000)
        return size, [os.pread(file.fileno(), 200_000, start + offset) for offset in offsets]


def test_an_instance_of_more_than_2_gib_is_received_and_sent_in_little_memory(
    roomy: Path,
) -> None:
    sent = roomy / "huge.dcm"
    meta = write_instance(sent, HUGE)
    with receiver(roomy / "data") as (pid, port):
        idle = used(pid, "VmRSS")
        assert send(sent, port, 100_001) < MOST
        assert used(pid, "VmHWM") - idle < MOST
        (received,) = (roomy / "data" / "spool").glob("*/*/*.dcm")
        start = read_file_meta(received).dataset_offset
        assert outline(received, start) == outline(sent, meta.dataset_offset)


def test_an_instance_of_more_than_2_gib_arrives_at_dcmtk_whole(roomy: Path) -> None:
    sent = roomy / "huge.dcm"
    meta = write_instance(sent, HUGE)
    with storescp(roomy / "peer", "+B", "--max-pdu", "65535") as peer:
        assert send(sent, peer.port) < MOST
        (received,) = peer.files()
    start = read_file_meta(received).dataset_offset
    assert outline(received, start) == outline(sent, meta.dataset_offset)
