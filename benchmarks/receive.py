"""How fast we receive, beside storescp, Orthanc and pynetdicom.

``crossdock`` is ``crossdock receiver``: spool, parcels, and ``sync`` as named. ``bare`` is its
StorageScp alone, writing files.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from datasets import KINDS, generate
from rounds import Case, Sample, alternate, options, show, workplace
from senders import Sender, crossdock, dcmsend

from peers import Peer, Starter, bare, orthanc, pynetdicom, receiver, storescp


PLUS_B = "storescp +B"
HUGE = 10**9
WHOLE = ("Orthanc", "pynetdicom")
"""Peers that hold an instance in memory, several times over; left out where it is of 2 GB."""


def case(peer: Peer, sender: Sender, files: Sequence[Path], associations: int) -> Case:
    """Return a case: send the files to a peer, and look at the peer."""

    def run() -> Sample:
        idle, used = peer.server.forget_peak(), peer.server.cpu()
        ran = sender(peer.server.port, files, associations)
        peak, cpu = peer.server.peak(), peer.server.cpu() - used
        peer.clear()
        return Sample(len(files), ran.seconds, cpu, peak, peak - idle)

    return run


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--sender", choices=("dcmsend", "crossdock"), default="dcmsend")
    parser.add_argument("--kinds", default="ABCD")
    parser.add_argument("--associations", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--peers", default="", help="only peers whose name holds this")
    arguments = parser.parse_args()
    with workplace(arguments) as home:
        sender = dcmsend() if arguments.sender == "dcmsend" else crossdock(home)
        for kind in arguments.kinds:
            files = generate(kind, arguments.data, quick=arguments.quick)
            for associations in arguments.associations:
                if associations > len(files):
                    continue
                title = (
                    f"receive {KINDS[kind].words}, {associations} associations, {arguments.sender}"
                )
                if arguments.only in title:
                    compare(
                        title,
                        home,
                        sender,
                        files=files,
                        associations=associations,
                        arguments=arguments,
                    )


def compare(
    title: str,
    home: Path,
    sender: Sender,
    *,
    files: Sequence[Path],
    associations: int,
    arguments: argparse.Namespace,
) -> None:
    """Measure all peers with one kind of files, and print the table."""
    with ExitStack() as stack:
        cases: dict[str, Case] = {}
        for name, start in starters(associations).items():
            if name != PLUS_B and not wanted(name, files, arguments.peers):
                continue
            place = home / title.replace(" ", "-").replace("/", "") / name.replace(" ", "-")
            peer = stack.enter_context(start(place))
            cases[name] = case(peer, sender, files, associations)
        show(title, alternate(cases, arguments.rounds), PLUS_B)


def wanted(name: str, files: Sequence[Path], named: str) -> bool:
    """Whether to measure a peer: by what the command line names, else by what it can bear."""
    if named:
        return named in name
    return not (name.startswith(WHOLE) and files[0].stat().st_size > HUGE)


def starters(associations: int) -> dict[str, Starter]:
    """Return who receives, the reference first."""
    fork = ["--fork"] if associations > 1 else []
    return {
        PLUS_B: lambda home: storescp(home, "+B", "-pdu", "131072", *fork),
        "crossdock bare": bare,
        "crossdock, sync none": partial(receiver, sync="none"),
        "crossdock, sync association": partial(receiver, sync="association"),
        "crossdock, sync instance": receiver,
        "Orthanc": orthanc,
        "pynetdicom, as documented": pynetdicom,
        "pynetdicom, encoded bytes": lambda home: pynetdicom(home, "--encoded"),
    }


if __name__ == "__main__":
    main()
