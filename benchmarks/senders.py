"""Who sends in a benchmark: dcmsend or our SCU, over one association or several side by side."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from certificates import Certificate
from processes import NO_DELAY, Ran, run_all

from peers import PROGRAMS


Sender = Callable[[int, Sequence[Path], int], Ran]
"""Sends files to a port over a number of associations."""


def dcmsend(environment: Mapping[str, str] = NO_DELAY) -> Sender:
    """Return DCMTK's dcmsend as a sender."""

    def send(port: int, files: Sequence[Path], associations: int) -> Ran:
        commands = [
            ["/usr/bin/dcmsend", "-q", "-aec", "ANY-SCP", "127.0.0.1", str(port), *part]
            for part in split(files, associations)
        ]
        return run_all(commands, environment)

    return send


def storescu(certificate: Certificate) -> Sender:
    """Return DCMTK's storescu over TLS as a sender."""

    def send(port: int, files: Sequence[Path], associations: int) -> Ran:
        program = ["/usr/bin/storescu", "-q", "-aec", "ANY-SCP", *certificate.dcmtk]
        commands = [
            [*program, "127.0.0.1", str(port), *part] for part in split(files, associations)
        ]
        return run_all(commands, NO_DELAY)

    return send


def crossdock(
    home: Path, *, window: int = 1, pdu: int = 131072, certificate: Certificate | None = None
) -> Sender:
    """Return our SCU as a sender; its seconds and CPU leave the start of the interpreter out."""
    tls = certificate.ours if certificate else []

    def send(port: int, files: Sequence[Path], associations: int) -> Ran:
        commands = []
        for number, part in enumerate(split(files, associations)):
            home.mkdir(parents=True, exist_ok=True)
            names = home / f"files-{number}"
            names.write_text("\n".join(map(str, part)))
            program = [sys.executable, PROGRAMS / "scu.py"]
            settings = ["--window", str(window), "--pdu", str(pdu), *tls]
            commands.append([*program, str(port), names, *settings])
        ran = run_all(commands)
        said = [list(map(float, line.split())) for line in ran.output]
        return Ran(max(each[0] for each in said), sum(each[1] for each in said), ran.peak, ())

    return send


def split(files: Sequence[Path], parts: int) -> list[Sequence[Path]]:
    """Return the files in as many parts."""
    return [files[number::parts] for number in range(parts)]
