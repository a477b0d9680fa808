"""Many targets, and many deliveries that wait: what one more costs, and what the services take.

All targets but one are down, and all waiting deliveries are theirs. The gateway finds these in its
spool with a broker that knows nothing of them, as after the loss of a broker, is stopped when
all are queued, and started again. Then it is left to itself for a while, a study goes to the target
that is well, and a target is added. CPU of deliveries is without what it takes when idle.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import generate
from gateways import SERVICES, Gateway, series_of_their_own
from processes import free_port, wait_for
from rounds import options, workplace
from senders import dcmsend

from crossdock.bus import Bus, connect
from crossdock.bus.topology import deliveries
from crossdock.dicom.part10 import file_meta
from crossdock.model import Instance, new_id
from crossdock.spool import Origin, Routed, Spool
from crossdock.telemetry import configure_logging


_DEADLINE = 900.0
_SETTLE_SECONDS = 120.0  # until the pauses of targets that are down are as long as they get
_IDLE_SECONDS = 30.0
_SENT = 500
_LIVE = "live"
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_NEARLY = 0.98
_CLOSED = 1  # a port where nobody listens


@dataclass(frozen=True, slots=True)
class Size:
    """How many targets there are, and how many deliveries wait for them."""

    targets: int
    waiting: int


def fill(data: Path, size: Size) -> None:
    """Make routed parcels of one small instance each, for the targets that are down, in turn."""
    spool = Spool(data / "spool")
    spool.prepare()
    for number in range(size.waiting):
        target = _dead(size, number % (size.targets - 1))
        known = {
            "sop_class_uid": _CT,
            "sop_instance_uid": f"1.2.826.0.1.3680043.10.1490.9.{number}",
            "transfer_syntax_uid": _EXPLICIT,
            "calling_ae_title": "CT1",
            "called_ae_title": "CROSSDOCK",
            "address": "10.0.0.7",
        }
        origin = Origin(
            id=new_id(),
            store_node="main",
            calling_ae_title="CT1",
            address="10.0.0.7",
            study_instance_uid=f"1.2.826.0.1.3680043.10.1490.8.{number}",
            series_instance_uid=f"1.2.826.0.1.3680043.10.1490.7.{number}",
            received_at=time.time(),
        )
        opened, arrival = spool.open_parcel(origin), spool.arrival()
        arrival.write([file_meta(**known), b"\x08\0\x60\0CS\x02\0CT"])
        opened.add(arrival, 1)
        opened.close(spool.parcels, (Instance(number=1, size=arrival.size, **known),))
        stored = spool.find(origin.id)
        assert stored is not None
        stored.route(
            [Routed(target=target, protocol="dicom", rules=("all",), revision=2, at=time.time())]
        )


def document(size: Size, port: int, folder: Path) -> dict[str, Any]:
    """Return a configuration in which every target has a rule of its own."""
    dead = [
        {"name": _dead(size, number), "type": "dicom", "host": "127.0.0.1", "port": _CLOSED}
        | {"called_ae_title": f"DEAD{number}"}
        for number in range(size.targets - 1)
    ]
    live = {"name": _LIVE, "type": "folder", "path": str(folder), "complete_marker": False}
    rules = [
        {"name": f"to-{each['name']}", "targets": [each["name"]]}
        | {"when": f'calling_ae_title == "{each["called_ae_title"]}"'}
        for each in dead
    ]
    node = {"name": "main", "ae_title": "ANY-SCP", "port": port, "accept": "any"}
    return {
        "store_nodes": [node],
        "targets": [*dead, live],
        "rules": [*rules, {"name": "to-live", "targets": [_LIVE]}],
    }


def _dead(size: Size, number: int) -> str:
    return f"dead-{size.waiting}-{number}"  # a broker that is used again knows none of them


def queued(bus: Bus, targets: Sequence[str], count: int) -> bool:
    """Whether the queues of targets hold nearly all messages; a few are always in work."""
    return sum(bus.depth(deliveries(name)) for name in targets) >= _NEARLY * count


def measure(home: Path, size: Size, files: Sequence[Path], broker: str) -> list[str]:
    """Return the row of a size: one gateway from its start to its end."""
    data, folder, port = home / "data", home / "folder", free_port()
    folder.mkdir(parents=True)
    fill(data, size)
    gateway = Gateway(data, document(size, port, folder), broker)
    targets = [_dead(size, number) for number in range(size.targets - 1)]
    began = time.perf_counter()
    with gateway.running(), connect(gateway.broker, name="scale") as bus:
        all_queued = partial(queued, bus, targets, size.waiting)
        wait_for(all_queued, _DEADLINE, "all are queued", every=2.0)
        refilled = time.perf_counter() - began
        refilling = peaks(gateway)
    began = time.perf_counter()
    with gateway.running():
        services = gateway.services()
        send(gateway, port, files[:1], folder)
        restart = time.perf_counter() - began
        time.sleep(_SETTLE_SECONDS)
        used = sum(each.cpu() for each in services.values())
        time.sleep(_IDLE_SECONDS)
        idle = (sum(each.cpu() for each in services.values()) - used) / _IDLE_SECONDS
        work = send(gateway, port, files[1:], folder)
        added = add_target(gateway, folder)
        working = peaks(gateway)
    shutil.rmtree(home)
    return [
        f"{size.targets}",
        f"{size.waiting}",
        f"{refilled:.1f}",
        f"{restart:.1f}",
        f"{work.count / work.seconds:.0f}",
        f"{1000 * (work.cpu - idle * work.seconds) / work.count:.2f}",
        f"{added:.2f}",
        f"{100 * idle:.0f} %",
        *(f"{max(refilling[name], working[name]):.0f}" for name in SERVICES),
    ]


def peaks(gateway: Gateway) -> dict[str, float]:
    """Return the most memory that each service has taken so far, in MB."""
    return {name: each.peak() / 1e6 for name, each in gateway.services().items()}


@dataclass(frozen=True, slots=True)
class Work:
    """What a number of deliveries took: seconds, and CPU seconds of all services."""

    count: int
    seconds: float
    cpu: float


def send(gateway: Gateway, port: int, files: Sequence[Path], folder: Path) -> Work:
    """Send files over one association, and wait until the target that is well has them."""
    services = gateway.services().values()
    wanted = _count(folder) + len(files)
    used, began = sum(each.cpu() for each in services), time.perf_counter()
    dcmsend()(port, files, 1)
    wait_for(lambda: _count(folder) >= wanted, _DEADLINE, "all files in the folder")
    seconds = time.perf_counter() - began
    return Work(len(files), seconds, sum(each.cpu() for each in services) - used)


def _count(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*.dcm") if not path.name.startswith("."))


def add_target(gateway: Gateway, folder: Path) -> float:
    """Return the seconds until every service has a target that is added."""
    began = time.perf_counter()
    added = gateway.api("PUT", "/api/v1/targets/added", {"type": "folder", "path": str(folder)})
    if added is None:
        raise RuntimeError("the target was not added")
    gateway.wait_ready()
    return time.perf_counter() - began


def main() -> None:
    """Measure each number of waiting deliveries, and print a table."""
    parser = options(__doc__)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--waiting", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--broker", default="", help="URL; the embedded broker if left out")
    arguments = parser.parse_args()
    configure_logging("error", "scale")
    with workplace(arguments) as home:
        copies = home / "files"
        copies.mkdir()
        files = series_of_their_own(generate("B", arguments.data)[: _SENT + 1], copies)
        columns = ["targets", "waiting", "refilled s", "restart s", "deliveries/s", "CPU ms each"]
        columns += ["target added s", "idle CPU", *(f"{name} MB" for name in SERVICES)]
        print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for waiting in arguments.waiting:
            size = Size(arguments.targets, waiting)
            row = measure(home / str(waiting), size, files, arguments.broker)
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
