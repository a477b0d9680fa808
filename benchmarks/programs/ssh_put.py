"""Sends files to an SSH target as a dispatcher does: ``ssh_put.py SETTINGS NAMES``.

Prints seconds, CPU seconds and bytes of growth. The seconds begin before the connection is opened
and leave out the start of the interpreter; the CPU is that of ssh and rsync, too.
"""

import json
import resource
import sys
import time
from pathlib import Path

from crossdock.config.snapshot import parse_object
from crossdock.dicom.part10 import read_file_meta
from crossdock.model import Instance
from crossdock.protocols import Outgoing, adapter_for


def used(field: str) -> int:
    """Return the bytes that this process uses, or has used at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def outgoing(number: int, path: Path) -> Outgoing:
    """Return a file as an instance of a parcel."""
    meta = read_file_meta(path)
    instance = Instance(
        number=number,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=meta.size,
        calling_ae_title="",
        called_ae_title="",
        address="",
    )
    return Outgoing(instance, path)


def cpu() -> float:
    """Return the CPU seconds of this process and of those that it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Send, and print what that took."""
    target = parse_object("targets", json.loads(Path(sys.argv[1]).read_text()))
    paths = map(Path, Path(sys.argv[2]).read_text().split("\n"))
    instances = [outgoing(number, path) for number, path in enumerate(paths, 1)]
    idle, spent, began = used("VmRSS"), cpu(), time.perf_counter()
    with adapter_for(target) as adapter:  # type: ignore[arg-type]  # a target, as its kind says
        assert all(each.confirmed for each in adapter.send(instances))
        adapter.finish(instances)
        seconds = time.perf_counter() - began
    print(seconds, cpu() - spent, used("VmHWM") - idle)


if __name__ == "__main__":
    main()
