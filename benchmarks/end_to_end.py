"""Receive, route and deliver to a DICOM target and a folder target, beside Orthanc forwarding.

A round ends when the targets have everything. ``receiver, router, dispatcher`` is the CPU time of
all three; parcels are as configured by default, so sending begins while receiving goes on.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from datasets import generate
from processes import Server, serving, wait_for
from rounds import Case, Sample, alternate, options, show, workplace
from senders import dcmsend

from peers import (
    clear_spool,
    configure,
    empty,
    orthanc,
    receiver,
    service,
    storescp,
    surroundings,
)


_DEADLINE = 300.0
_LUA = """function OnStoredInstance(instance, tags, metadata, origin)
  Delete(SendToModality(instance, 'target'))
end
"""
_ALONE = "receive alone"


@dataclass(frozen=True, slots=True)
class Gateway:
    """Something that forwards: where it listens, its processes, and how it forgets a round.

    ``busy`` are directories that are empty once everything received is concluded, in the order in
    which it passes through them.
    """

    port: int
    servers: Sequence[Server]
    clear: Callable[[], None]
    busy: Sequence[Path] = ()


def case(gateway: Gateway, target: Server, kept: Sequence[Path], files: Sequence[Path]) -> Case:
    """Return a case: send, and wait until every directory of ``kept`` holds all files."""
    send = dcmsend()

    def arrived() -> bool:
        return all(_whole_files(directory) >= len(files) for directory in kept)

    def over() -> bool:
        # The target takes one association at a time, and one may be kept for a while.
        return not target.connected() and not any(any(each.iterdir()) for each in gateway.busy)

    def run() -> Sample:
        idle = max(each.forget_peak() for each in gateway.servers)
        used = sum(each.cpu() for each in gateway.servers)
        began = time.perf_counter()
        send(gateway.port, files, 1)
        wait_for(arrived, _DEADLINE, "all files at the targets")
        seconds = time.perf_counter() - began
        cpu = sum(each.cpu() for each in gateway.servers) - used
        peak = max(each.peak() for each in gateway.servers)
        wait_for(over, _DEADLINE, "the end of all deliveries and associations")
        gateway.clear()
        for directory in kept:
            empty(directory)
        return Sample(len(files), seconds, cpu, peak, peak - idle)

    return run


def _whole_files(directory: Path) -> int:
    return sum(1 for path in directory.rglob("*") if path.is_file() and _whole(path))


def _whole(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix != ".part"


@contextmanager
def crossdock(home: Path, targets: Mapping[str, Mapping[str, Any]], sync: str) -> Iterator[Gateway]:
    """Run receiver, router and dispatcher with an embedded broker, and a rule for every target."""
    data = home / "receiver"
    document = {
        "targets": [{"name": name, **settings} for name, settings in targets.items()],
        "rules": [{"name": "all", "targets": list(targets)}],
    }
    with ExitStack() as stack:
        for name in ("router", "dispatcher"):
            configure(data, name, document)
        peer = stack.enter_context(receiver(home, sync=sync))
        servers = [peer.server]
        servers += [
            stack.enter_context(serving(service(name), 0, surroundings(data)))
            for name in ("router", "dispatcher")
        ]
        for name in ("router", "dispatcher"):
            wait_for(partial(_ready, data, name), _DEADLINE, f"{name} with its configuration")
        busy = [data / "spool" / folder for folder in ("open", "parcels")]
        yield Gateway(peer.server.port, servers, lambda: clear_spool(data), busy)


def _ready(data: Path, name: str) -> bool:
    try:
        address = json.loads((data / "run" / f"{name}.json").read_text())["http"]
        return httpx.get(f"http://{address}/readyz").is_success
    except (FileNotFoundError, httpx.TransportError):
        return False


@contextmanager
def forwarding_orthanc(home: Path, port: int) -> Iterator[Gateway]:
    """Run Orthanc with a script that forwards what arrives and deletes it."""
    lua = home / "forward.lua"
    home.mkdir(parents=True)
    lua.write_text(_LUA)
    modalities = {"target": ["ANY-SCP", "127.0.0.1", port]}
    with orthanc(home, lua=lua, modalities=modalities) as peer:
        yield Gateway(peer.server.port, [peer.server], peer.clear)


def main() -> None:
    """Measure with one DICOM target, with a folder target, and with both."""
    parser = options(__doc__)
    parser.add_argument("--kind", default="A")
    parser.add_argument("--sync", choices=("instance", "association", "none"), default="instance")
    arguments = parser.parse_args()
    with workplace(arguments) as home, ExitStack() as stack:
        files = generate(arguments.kind, arguments.data, quick=arguments.quick)
        target = stack.enter_context(storescp(home / "target", "+B", "-pdu", "131072"))
        kept, folder = home / "target" / "storescp", home / "folder"
        folder.mkdir()
        dicom: dict[str, Any] = {"type": "dicom", "host": "127.0.0.1", "port": target.server.port}
        dicom["called_ae_title"] = "ANY-SCP"
        files_only: dict[str, Any] = {
            "type": "folder",
            "path": str(folder),
            "naming": "{SOPInstanceUID}.dcm",
        }
        files_only["complete_marker"] = False
        cases: dict[str, Case] = {}
        for name, targets, where in (
            ("crossdock → DICOM", {"archive": dicom}, [kept]),
            ("crossdock → folder", {"research": files_only}, [folder]),
            ("crossdock → both", {"archive": dicom, "research": files_only}, [kept, folder]),
        ):
            place = home / name.replace(" ", "-")
            gateway = stack.enter_context(crossdock(place, targets, arguments.sync))
            cases[name] = case(gateway, target.server, where, files)
        other = stack.enter_context(forwarding_orthanc(home / "orthanc", target.server.port))
        cases["Orthanc → DICOM"] = case(other, target.server, [kept], files)
        alone = stack.enter_context(receiver(home / "alone", sync=arguments.sync))
        receiving = Gateway(alone.server.port, [alone.server], alone.clear)
        cases[_ALONE] = case(receiving, target.server, [], files)
        direct = Gateway(target.server.port, [target.server], lambda: None)
        cases["dcmsend → target"] = case(direct, target.server, [kept], files)
        show(f"end to end, sync {arguments.sync}", alternate(cases, arguments.rounds), _ALONE)


if __name__ == "__main__":
    main()
