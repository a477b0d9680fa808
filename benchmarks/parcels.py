"""Many deliveries of one instance each to one DICOM target, near and over a distance.

What counts is what a delivery costs beside its bytes: associations, journal, messages. A round
begins with the first delivery that is final and ends with the last one; syncs cost nothing in memory.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from datasets import generate
from processes import free_port, serving, wait_for
from rounds import Case, Sample, alternate, options, show, workplace

from crossdock.bus import connect
from crossdock.bus.topology import deliveries
from crossdock.dicom.part10 import file_meta, read_file_meta
from crossdock.messages import DeliveryRouted
from crossdock.model import Instance, delivery_id, new_id
from crossdock.spool import Origin, Routed, Spool
from peers import PROGRAMS, clear_spool, configure, service, storescp, surroundings


TARGET = "archive"
_DEADLINE = 300.0
_NEAR = "storescp near by"
_numbers = count()


def case(home: Path, port: int, files: Sequence[Path]) -> Case:
    """Return a case: a dispatcher that finds one delivery per file waiting."""

    def run() -> Sample:
        data = home / f"dispatcher-{next(_numbers)}"
        target = {"name": TARGET, "type": "dicom", "host": "127.0.0.1", "port": port}
        configure(data, "dispatcher", {"targets": [{**target, "called_ae_title": "ANY-SCP"}]})
        fill(data, files)
        with serving(service("dispatcher"), 0, surroundings(data)) as server:
            retired = data / "spool" / "retired"
            wait_for(lambda: _entries(retired) > 0, _DEADLINE, "the first delivery")
            first, used, begun = _entries(retired), server.cpu(), time.perf_counter()
            wait_for(lambda: _entries(retired) >= len(files), _DEADLINE, "all deliveries")
            seconds, cpu = time.perf_counter() - begun, server.cpu() - used
            sample = Sample(len(files) - first, seconds, cpu, server.peak())
        clear_spool(data)
        return sample

    return run


def _entries(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir())


def fill(data: Path, files: Sequence[Path]) -> None:
    """Make a routed parcel of each file, and send the message of its delivery."""
    spool = Spool(data / "spool")
    spool.prepare()
    with connect(f"filesystem://{data / 'broker'}") as bus:
        for file in files:
            bus.send(deliveries(TARGET), routed_parcel(spool, file))


def routed_parcel(spool: Spool, file: Path) -> DeliveryRouted:
    """Make a routed parcel of a file, and return the message of its delivery."""
    meta, now = read_file_meta(file), time.time()
    known = {
        "sop_class_uid": meta.sop_class_uid,
        "sop_instance_uid": meta.sop_instance_uid,
        "transfer_syntax_uid": meta.transfer_syntax_uid,
        "calling_ae_title": "CT1",
        "called_ae_title": "CROSSDOCK",
        "address": "10.0.0.7",
    }
    origin = Origin(
        id=new_id(),
        store_node="main",
        calling_ae_title="CT1",
        address="10.0.0.7",
        study_instance_uid=meta.sop_instance_uid,
        series_instance_uid=meta.sop_instance_uid,
        received_at=now,
    )
    opened, arrival = spool.open_parcel(origin), spool.arrival()
    arrival.write([file_meta(**known), file.read_bytes()[meta.dataset_offset :]])
    opened.add(arrival, 1)
    opened.close(spool.parcels, (Instance(number=1, size=arrival.size, **known),))
    stored = spool.find(origin.id)
    assert stored is not None
    stored.route(
        [
            Routed(
                target=TARGET, protocol="dicom", rules=("all",), revision=1, at=now, instances=None
            )
        ]
    )
    return DeliveryRouted(
        delivery=delivery_id(origin.id, TARGET),
        parcel=origin.id,
        target=TARGET,
        protocol="dicom",
        rules=("all",),
        instances=1,
        revision=1,
        at=now,
    )


def main() -> None:
    """Measure with storescp near by, and with a relay before it."""
    parser = options(__doc__)
    parser.add_argument("--count", type=int, default=1000, help="deliveries per round (1000)")
    parser.add_argument("--milliseconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with workplace(arguments) as home, ExitStack() as stack:
        files = generate("B", arguments.data, quick=arguments.quick)[: arguments.count]
        peer = stack.enter_context(storescp(home / "peer", "--ignore"))
        relay, far = free_port(), str(arguments.milliseconds)
        program: list[object] = [sys.executable, PROGRAMS / "relay.py"]
        stack.enter_context(serving([*program, relay, peer.server.port, far], relay))
        cases = {
            _NEAR: case(home, peer.server.port, files),
            f"storescp over {far} ms round trip": case(home, relay, files),
        }
        title = f"{len(files)} deliveries of one instance of 20 KB"
        show(title, alternate(cases, arguments.rounds), _NEAR)


if __name__ == "__main__":
    main()
