"""Several dispatchers for one target that is far: what each one more brings.

They share a spool and a broker, and nothing else. A round begins when all of them run and the
messages of the deliveries, of one instance each, are about to be sent.
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
from crossdock.spool import Spool
from parcels import TARGET, routed_parcel
from peers import PROGRAMS, clear_spool, configure, service, storescp, surroundings


_DEADLINE = 300.0
_numbers = count()


def case(home: Path, port: int, files: Sequence[Path], dispatchers: int, broker: str) -> Case:
    """Return a case: so many dispatchers of one target, each with a directory of its own."""

    def run() -> Sample:
        shared = home / f"shared-{next(_numbers)}"
        spool = Spool(shared / "spool")
        spool.prepare()
        messages = [routed_parcel(spool, file) for file in files]
        url = broker or f"filesystem://{shared / 'broker'}"
        places = [_place(shared, number, port) for number in range(dispatchers)]
        with ExitStack() as stack, connect(url) as bus:
            servers = [
                stack.enter_context(
                    serving(
                        service("dispatcher", "--protocol", "dicom"),
                        0,
                        {**surroundings(place), "CROSSDOCK_BROKER": url},
                    )
                )
                for place in places
            ]
            up = [place / "run" / "dispatcher.json" for place in places]
            wait_for(lambda: all(map(Path.exists, up)), _DEADLINE, "all dispatchers")
            used, begun = sum(each.cpu() for each in servers), time.perf_counter()
            for message in messages:
                bus.send(deliveries(TARGET), message)
            wait_for(
                lambda: len(list(spool.retired.iterdir())) >= len(files), _DEADLINE, "all of them"
            )
            seconds = time.perf_counter() - begun
            cpu = sum(each.cpu() for each in servers) - used
            sample = Sample(len(files), seconds, cpu, max(each.peak() for each in servers))
        clear_spool(shared)
        return sample

    return run


def _place(shared: Path, number: int, port: int) -> Path:
    place = shared / f"dispatcher-{number}"
    place.mkdir()
    (place / "spool").symlink_to(shared / "spool")
    target = {"name": TARGET, "type": "dicom", "host": "127.0.0.1", "port": port}
    configure(place, "dispatcher", {"targets": [{**target, "called_ae_title": "ANY-SCP"}]})
    return place


def main() -> None:
    """Measure 1, 2 and 4 dispatchers over a relay that takes its time."""
    parser = options(__doc__)
    parser.add_argument("--count", type=int, default=1000, help="deliveries per round (1000)")
    parser.add_argument("--milliseconds", type=float, default=10.0)
    parser.add_argument("--dispatchers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--broker", default="", help="URL; the embedded broker if left out")
    arguments = parser.parse_args()
    with workplace(arguments) as home, ExitStack() as stack:
        files = generate("B", arguments.data, quick=arguments.quick)[: arguments.count]
        peer = stack.enter_context(storescp(home / "peer", "--ignore", "--fork"))
        relay, far = free_port(), str(arguments.milliseconds)
        program: list[object] = [sys.executable, PROGRAMS / "relay.py"]
        stack.enter_context(serving([*program, relay, peer.server.port, far], relay))
        cases = {
            f"{number}": case(home, relay, files, number, arguments.broker)
            for number in arguments.dispatchers
        }
        title = f"{len(files)} deliveries of one instance of 20 KB, {far} ms, by dispatchers"
        show(title, alternate(cases, arguments.rounds), f"{arguments.dispatchers[0]}")


if __name__ == "__main__":
    main()
