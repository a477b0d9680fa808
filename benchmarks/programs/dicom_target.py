"""A DICOM target's adapter as a program: ``dicom_target.py SETTINGS LIST`` delivers the files in LIST.

It prints wall and CPU seconds, those of the process that converts included, from the first file to
the answered release. The instances came from as many senders as ``--senders`` says, which took turns.
"""

import argparse
import json
import resource
import time
from pathlib import Path

from crossdock.config.snapshot import parse_object
from crossdock.dicom.part10 import read_file_meta
from crossdock.model import Instance
from crossdock.protocols import Outgoing, adapter_for


def main() -> None:
    """Deliver the files by an adapter of the settings."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("list", type=Path)
    parser.add_argument("--senders", type=int, default=1)
    arguments = parser.parse_args()
    target = parse_object("targets", arguments.settings)
    paths = [Path(line) for line in arguments.list.read_text().splitlines()]
    instances = [outgoing(number, path, arguments.senders) for number, path in enumerate(paths, 1)]
    before, began = used(), time.perf_counter()
    with adapter_for(target) as adapter:  # type: ignore[arg-type]  # parse_object knows kinds by name
        missing = [found for found in adapter.send(instances) if not found.confirmed]
    seconds = time.perf_counter() - began
    if missing:
        raise SystemExit(f"{len(missing)} were not stored, the first with {missing[0].detail}")
    print(seconds, used() - before)


def used() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in each)


def outgoing(number: int, path: Path, senders: int) -> Outgoing:
    """Return a file as an instance that came from one of the senders."""
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


if __name__ == "__main__":
    main()
