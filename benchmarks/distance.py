"""Sending over a distance of 10 ms round trip: a window where it is granted, else associations."""

import sys
from pathlib import Path

from datasets import generate
from processes import free_port, serving
from rounds import Case, alternate, options, show, workplace
from send import case
from senders import crossdock, dcmsend

from peers import PROGRAMS, bare, storescp


_FILES = 500
_REFERENCE = "dcmsend, 1 association"


def main() -> None:
    """Measure with a peer that grants a window, ours, and one that grants none, storescp."""
    parser = options(__doc__)
    parser.add_argument("--milliseconds", type=float, default=10.0)
    arguments = parser.parse_args()
    with workplace(arguments) as home:
        files = generate("B", arguments.data, quick=arguments.quick)[:_FILES]
        far = str(arguments.milliseconds)
        with (
            bare(home / "1", keep=False) as granting,
            storescp(home / "2", "--ignore", "--fork") as plain,
        ):
            ports = [each.server.port for each in (granting, plain)]
            relays = [free_port(), free_port()]
            program: list[object] = [sys.executable, PROGRAMS / "relay.py"]
            with (
                serving([*program, str(relays[0]), str(ports[0]), far], relays[0]),
                serving([*program, str(relays[1]), str(ports[1]), far], relays[1]),
            ):
                samples = alternate(cases(relays, files, home), arguments.rounds)
        show(f"send 20 KB instances over {far} ms round trip", samples, _REFERENCE)


def cases(relays: list[int], files: list[Path], home: Path) -> dict[str, Case]:
    """Return who sends, and over what."""
    granting, plain = relays
    return {
        _REFERENCE: case(plain, dcmsend(), files, 1),
        "dcmsend, 1 association, to a peer that grants a window": case(
            granting, dcmsend(), files, 1
        ),
        "crossdock, 1 association, no window": case(plain, crossdock(home), files, 1),
        "crossdock, 1 association, window 16": case(granting, crossdock(home, window=16), files, 1),
        "crossdock, 8 associations, no window": case(plain, crossdock(home), files, 8),
    }


if __name__ == "__main__":
    main()
