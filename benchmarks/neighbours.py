"""Fifty targets of which one is in trouble: what the other forty-nine notice of it.

Every parcel goes to all of them. A round ends when the forty-nine have everything; the fiftieth is
well, refuses connections, or takes them and never answers.
"""

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from datasets import generate
from gateways import Gateway, series_of_their_own
from processes import free_port, wait_for
from rounds import Case, Sample, alternate, options, show, workplace
from senders import dcmsend

from peers import empty


_TARGETS = 50
_PARCELS = 60
_DEADLINE = 300.0
_WELL = "all are well"


@contextmanager
def silent() -> Iterator[int]:
    """Listen on a port without ever answering; the system takes the connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield int(listener.getsockname()[1])


def folders(home: Path, count: int) -> list[dict[str, Any]]:
    """Return folder targets, each with a directory of its own."""
    targets = []
    for number in range(count):
        path = home / f"folder-{number}"
        path.mkdir(parents=True)
        name = f"folder-{number}"
        targets.append(
            {"name": name, "type": "folder", "path": str(path), "complete_marker": False}
        )
    return targets


def case(
    home: Path, last: Mapping[str, Any], files: Sequence[Path], stack: ExitStack, broker: str
) -> Case:
    """Return a case: a gateway with 49 folders and ``last``, which gets each file as a parcel."""
    port, targets = free_port(), folders(home, _TARGETS - 1)
    node = {"name": "main", "ae_title": "ANY-SCP", "port": port, "accept": "any"}
    every = [*targets, dict(last)]
    rules = [{"name": "all", "targets": [each["name"] for each in every]}]
    document = {"store_nodes": [node], "targets": every, "rules": rules}
    gateway = Gateway(home / "data", document, broker)
    stack.enter_context(gateway.running())
    watched = [Path(each["path"]) for each in targets]

    def arrived() -> bool:
        return all(_count(folder) >= len(files) for folder in watched)

    def run() -> Sample:
        services = gateway.services().values()
        used, began = sum(each.cpu() for each in services), time.perf_counter()
        dcmsend()(port, files, 1)
        wait_for(arrived, _DEADLINE, "all files in the folders")
        seconds = time.perf_counter() - began
        cpu = sum(each.cpu() for each in services) - used
        for folder in watched:
            empty(folder)
        peak = max(each.peak() for each in services)
        return Sample(len(files) * len(watched), seconds, cpu, peak)

    return run


def _count(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*.dcm") if not path.name.startswith("."))


def main() -> None:
    """Measure with a fiftieth target that is well, that refuses, and that never answers."""
    parser = options(__doc__)
    parser.add_argument("--broker", default="", help="URL; the embedded broker if left out")
    arguments = parser.parse_args()
    with workplace(arguments) as home, ExitStack() as stack:
        copies = home / "files"
        copies.mkdir()
        files = series_of_their_own(generate("B", arguments.data)[:_PARCELS], copies)
        (well,) = folders(home / "well", 1)
        dicom = {"type": "dicom", "host": "127.0.0.1", "called_ae_title": "LAST"}
        lasts = {
            _WELL: {**well, "name": "last"},
            "one refuses": {**dicom, "name": "last", "port": 1},
            "one never answers": {**dicom, "name": "last", "port": stack.enter_context(silent())},
        }
        cases = {
            name: case(home / name.replace(" ", "-"), last, files, stack, arguments.broker)
            for name, last in lasts.items()
        }
        title = f"{_PARCELS} parcels to {_TARGETS} targets, deliveries to {_TARGETS - 1} of them"
        show(title, alternate(cases, arguments.rounds), _WELL)


if __name__ == "__main__":
    main()
