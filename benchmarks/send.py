"""How fast our SCU sends, beside dcmsend, to ``storescp --ignore`` and to our own bare SCP."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from datasets import KINDS, generate
from rounds import Case, Sample, alternate, options, show, workplace
from senders import Sender, crossdock, dcmsend

from peers import Starter, bare, storescp


DCMSEND = "dcmsend"


def case(port: int, sender: Sender, files: list[Path], associations: int) -> Case:
    """Return a case: send the files to a port, and look at the sender."""

    def run() -> Sample:
        ran = sender(port, files, associations)
        return Sample(len(files), ran.seconds, ran.cpu, ran.peak)

    return run


def main() -> None:
    """Measure every kind of files, to every peer, over one association and over four."""
    parser = options(__doc__)
    parser.add_argument("--kinds", default="ABCD")
    parser.add_argument("--associations", type=int, nargs="*", default=[1, 4])
    arguments = parser.parse_args()
    with workplace(arguments) as home:
        senders = {DCMSEND: dcmsend(), "crossdock": crossdock(home)}
        for kind in arguments.kinds:
            files = generate(kind, arguments.data, quick=arguments.quick)
            for associations in arguments.associations:
                if associations > len(files):
                    continue
                for name, start in receivers(associations).items():
                    words = f"send {KINDS[kind].words} to {name}, {associations} association(s)"
                    if arguments.only not in words:
                        continue
                    with ExitStack() as stack:
                        place = home / f"{kind}{associations}{name.split()[0]}"
                        port = stack.enter_context(start(place)).server.port
                        cases = {
                            each: case(port, sender, files, associations)
                            for each, sender in senders.items()
                        }
                        show(words, alternate(cases, arguments.rounds), DCMSEND)


def receivers(associations: int) -> dict[str, Starter]:
    """Return to whom files are sent; all of them forget what they get."""
    fork = ["--fork"] if associations > 1 else []
    return {
        "storescp --ignore": lambda home: storescp(home, "--ignore", "-pdu", "131072", *fork),
        "bare crossdock": partial(bare, keep=False),
    }


if __name__ == "__main__":
    main()
