"""Files into a directory: ``folder.py HOW DIRECTORY LIST``, for the files named in LIST.

HOW is ``adapter``, which is our folder adapter, or ``loop``, which is the least that makes the same
promise: one file after the other, copied by the kernel, synced, and its directory synced. It prints
wall and CPU seconds and by how many bytes memory grew, without the start of the interpreter.
"""

import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from crossdock.config.targets import FolderTarget
from crossdock.dicom.part10 import read_file_meta
from crossdock.model import Instance
from crossdock.protocols import Outgoing, adapter_for


_AT_ONCE = 1 << 30


def outgoing(number: int, path: Path) -> Outgoing:
    """Return a file as the dispatcher knows it, from its parcel."""
    meta = read_file_meta(path)
    known = {"calling_ae_title": "BENCHMARK", "called_ae_title": "CROSSDOCK", "address": ""}
    instance = Instance(
        number=number,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=path.stat().st_size,
        **known,
    )
    return Outgoing(instance, path)


def adapter(directory: Path, instances: Sequence[Outgoing]) -> None:
    """Send the files as a dispatcher does."""
    target = FolderTarget(name="benchmark", type="folder", path=str(directory))
    with adapter_for(target) as sending:
        assert all(outcome.confirmed for outcome in sending.send(instances))
        sending.finish(instances)


def loop(directory: Path, instances: Sequence[Outgoing]) -> None:
    """Copy the files with the same syncs, and nothing else."""
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for each in instances:
        source = os.open(each.path, os.O_RDONLY)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        copy = os.open(each.path.name, flags, 0o640, dir_fd=parent)
        offset = 0
        while copied := os.sendfile(copy, source, offset, _AT_ONCE):
            offset += copied
        os.fsync(copy)
        os.close(copy)
        os.close(source)
        os.fsync(parent)
    os.close(parent)


def memory(field: str) -> int:
    """Bytes of memory as the kernel counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main(how: str, directory: Path, paths: list[Path]) -> None:
    """Copy the files and say what it took."""
    instances = [outgoing(number, path) for number, path in enumerate(paths, 1)]
    idle = memory("VmRSS")
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    {"adapter": adapter, "loop": loop}[how](directory, instances)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(seconds, used, memory("VmHWM") - idle)


if __name__ == "__main__":
    main(
        sys.argv[1],
        Path(sys.argv[2]),
        [Path(line) for line in Path(sys.argv[3]).read_text().splitlines()],
    )
