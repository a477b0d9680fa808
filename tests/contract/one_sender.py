"""Sends one file from a process of its own, and says by how many bytes of memory that grew.

Usage: one_sender.py FILE, with the target's settings as JSON on standard input.
"""

import json
import sys
from pathlib import Path

from contract.remotes import make_target, outgoing_of
from crossdock.protocols import adapter_for


def used(field: str) -> int:
    """Bytes of memory as the kernel counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main(path: Path) -> None:
    target = make_target(json.load(sys.stdin))
    with adapter_for(target) as adapter:
        assert adapter.check().green  # what a library loads at first use is no matter of size
        idle = used("VmRSS")
        (outcome,) = adapter.send(outgoing_of([path]))
        assert outcome.confirmed, outcome
    print(used("VmHWM") - idle)  # noqa: T201 — the answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
