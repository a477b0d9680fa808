"""What TLS costs: receiving from ``storescu +tls`` and sending to ``storescp +tls``, beside DCMTK.

dcmsend cannot do TLS, so storescu stands for DCMTK as a sender. All show certificates of each other's CA.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from certificates import Certificate, make_certificate
from datasets import KINDS, generate
from receive import case as receiving
from rounds import Case, alternate, options, show, workplace
from send import case as sending
from senders import Sender, crossdock, storescu

from peers import Peer, Starter, bare, receiver, storescp


STORESCP, STORESCU = "storescp +B +tls", "storescu +tls"


def main() -> None:
    """Measure both directions, over one association and over four."""
    parser = options(__doc__)
    parser.add_argument("--kinds", default="AB")
    parser.add_argument("--associations", type=int, nargs="*", default=[1, 4])
    arguments = parser.parse_args()
    with workplace(arguments) as home:
        certificate = make_certificate(home)
        for kind in arguments.kinds:
            files = generate(kind, arguments.data, quick=arguments.quick)
            for associations in arguments.associations:
                words = f"{KINDS[kind].words} over TLS, {associations} association(s)"
                place = home / f"{kind}{associations}"
                for title, measure in (
                    (f"receive {words}", receive),
                    (f"send {words}", send),
                ):
                    if arguments.only in title:
                        with ExitStack() as stack:
                            cases = measure(stack, place, certificate, files, associations)
                            show(title, alternate(cases, arguments.rounds), next(iter(cases)))


def receive(
    stack: ExitStack,
    home: Path,
    certificate: Certificate,
    files: Sequence[Path],
    associations: int,
) -> dict[str, Case]:
    """Return who receives from storescu, the reference first."""
    sender = storescu(certificate)
    ready = partial(receiver, tls=certificate.node)
    starters: dict[str, Starter] = {
        STORESCP: partial(_storescp, certificate, associations, "+B"),
        "crossdock bare": partial(bare, certificate=certificate),
        "crossdock, sync none": partial(ready, sync="none"),
        "crossdock, sync instance": ready,
    }
    return {
        name: receiving(stack.enter_context(start(home / name)), sender, files, associations)
        for name, start in starters.items()
    }


def send(
    stack: ExitStack,
    home: Path,
    certificate: Certificate,
    files: Sequence[Path],
    associations: int,
) -> dict[str, Case]:
    """Return who sends, and to whom, the reference first."""
    senders: dict[str, Sender] = {
        STORESCU: storescu(certificate),
        "crossdock": crossdock(home, certificate=certificate),
    }
    starters: dict[str, Starter] = {
        "storescp --ignore": partial(_storescp, certificate, associations, "--ignore"),
        "bare crossdock": partial(bare, keep=False, certificate=certificate),
    }
    cases: dict[str, Case] = {}
    for name, start in starters.items():
        port = stack.enter_context(start(home / name)).server.port
        for each, sender in senders.items():
            cases[f"{each} → {name}"] = sending(port, sender, files, associations)
    return cases


def _storescp(
    certificate: Certificate, associations: int, what: str, home: Path
) -> AbstractContextManager[Peer]:
    fork = ["--fork"] if associations > 1 else []
    return storescp(home, what, "-pdu", "131072", *fork, *map(str, certificate.dcmtk))


if __name__ == "__main__":
    main()
