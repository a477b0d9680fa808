"""How fast the DICOM targets' adapter delivers, beside dcmsend and, over TLS, storescu.

All send to ``storescp --ignore``. Kind D shows the memory that one instance of 2 GB takes.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from certificates import Certificate, make_certificate
from datasets import KINDS, generate
from deliveries import deliver
from processes import Ran
from rounds import Case, alternate, options, show, workplace
from send import case
from senders import Sender, dcmsend, storescu

from peers import storescp


def adapter(home: Path, settings: Mapping[str, object], senders: int = 1) -> Sender:
    """Return the adapter of a target with some settings as a sender."""

    def send(port: int, files: Sequence[Path], associations: int) -> Ran:
        target = {
            "type": "dicom",
            "host": "127.0.0.1",
            "port": port,
            "called_ae_title": "ANY-SCP",
            "associations": associations,
            **settings,
        }
        file = home / "target.json"
        file.write_text(json.dumps(target))
        sample = deliver("deliver.py", "--senders", senders, file, files=files, home=home)
        return Ran(sample.seconds, sample.cpu, sample.peak, ())

    return send


def plain(home: Path) -> dict[str, Sender]:
    """Return who sends without TLS, the reference first."""
    return {
        "dcmsend": dcmsend(),
        "dicom": adapter(home, {}),
        "dicom, 4 senders' titles": adapter(home, {"pass_calling_ae_title": True}, senders=4),
    }


def secure(home: Path, certificate: Certificate) -> dict[str, Sender]:
    """Return who sends over TLS, the reference first."""
    shown, key = map(str, certificate.ours[1:])
    tls = {"ca": shown, "certificate": shown, "key": key, "check_hostname": False}
    return {
        "storescu +tls": storescu(certificate),
        "dicom+tls": adapter(home, {"type": "dicom+tls", "tls": tls}),
    }


def main() -> None:
    """Measure every kind of files, plain and over TLS."""
    parser = options(__doc__)
    parser.add_argument("--kinds", default="AB")
    parser.add_argument("--associations", type=int, nargs="*", default=[1])
    arguments = parser.parse_args()
    with workplace(arguments) as home:
        certificate = make_certificate(home)
        ways = {
            "plain": (plain(home), []),
            "TLS": (secure(home, certificate), [*map(str, certificate.dcmtk)]),
        }
        for kind in arguments.kinds:
            files = generate(kind, arguments.data, quick=arguments.quick)
            for associations in arguments.associations:
                for way, (senders, words) in ways.items():
                    title = f"deliver {KINDS[kind].words}, {way}, {associations} association(s)"
                    if arguments.only not in title:
                        continue
                    with ExitStack() as stack:
                        peer = storescp(
                            home / f"{kind}{associations}{way}",
                            *("--ignore", "-pdu", "131072", "--fork", *words),
                        )
                        port = stack.enter_context(peer).server.port
                        cases: dict[str, Case] = {
                            name: case(port, sender, files, associations)
                            for name, sender in senders.items()
                        }
                        show(title, alternate(cases, arguments.rounds), next(iter(cases)))


if __name__ == "__main__":
    main()
