"""What the programs here share: files as instances, an adapter, and what it took to send them.

The interpreter's start is left out, for a gateway does not start one for each delivery.
"""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crossdock.config.snapshot import parse_object
from crossdock.config.targets.base import TargetBase
from crossdock.dicom.part10 import read_file_meta
from crossdock.model import Instance
from crossdock.protocols import Adapter, Outgoing, adapter_for


Send = Callable[[], object]
"""Sends what it was made for; called once."""


def listed(names: str | Path) -> list[Path]:
    """Return the files that a list names, one a line."""
    return [Path(line) for line in Path(names).read_text().splitlines()]


def instances_of(paths: Sequence[Path], senders: int = 1) -> list[Outgoing]:
    """Return files as the instances of a parcel; ``senders`` sent them in turn."""
    return [_outgoing(number, path, senders) for number, path in enumerate(paths, 1)]


def _outgoing(number: int, path: Path, senders: int) -> Outgoing:
    meta = read_file_meta(path)
    instance = Instance(
        number=number,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=meta.size,
        calling_ae_title=f"SENDER{number % senders}",
        called_ae_title="CROSSDOCK",
        address="127.0.0.1",
    )
    return Outgoing(instance, path)


def adapter_of(settings: Mapping[str, object]) -> Adapter:
    """Return the adapter of a target with these settings."""
    target = parse_object("targets", {"name": "benchmark", **settings})
    assert isinstance(target, TargetBase)
    return adapter_for(target)


def send_all(adapter: Adapter, instances: Sequence[Outgoing]) -> None:
    """Send instances as one delivery; end the program, naming the first that is not confirmed."""
    missing = [outcome for outcome in adapter.send(instances) if not outcome.confirmed]
    if missing:
        raise SystemExit(f"{len(missing)} instances were not confirmed, first {missing[0]!r}")
    adapter.finish(instances)


def delivery(settings: Mapping[str, object], paths: Sequence[Path]) -> Send:
    """Return what sends the files over an adapter that has checked its target already."""
    adapter, instances = adapter_of(settings), instances_of(paths)
    report = adapter.check()
    if not report.green:
        raise SystemExit(f"the target is not well: {report!r}")
    return lambda: send_all(adapter, instances)


def measure(send: Send) -> None:
    """Print wall seconds, CPU seconds and by how many bytes memory grew while this was sent.

    The CPU seconds are those of ended children, too.
    """
    idle, used, began = _memory("VmRSS"), _cpu(), time.perf_counter()
    send()
    seconds = time.perf_counter() - began
    print(seconds, _cpu() - used, _memory("VmHWM") - idle)


def _cpu() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
