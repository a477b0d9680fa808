"""What the benchmarks of SSH targets share: a real sshd, our own sender, and OpenSSH's programs."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from deliveries import deliver, works
from processes import run_all
from rounds import Case, Sample, alternate, options, show, workplace

from peers import empty


sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.sshd import Sshd, public, sshd


CHEAP = ("-c", "aes128-gcm@openssh.com")

Tool = Callable[[Sshd, Path, Sequence[Path]], list[object]]
"""Returns the command that puts files into a directory of a server."""


def ssh_options(server: Sshd, *more: str) -> list[str]:
    """Return the options that ssh and sftp need to reach the server."""
    known = server.key.with_name("known_hosts")
    known.write_text(f"[127.0.0.1]:{server.port} {public(server.host_key)}\n")
    return ["-F", "none", "-i", str(server.key), "-o", f"UserKnownHostsFile={known}", *more]


def of_tool(tool: Tool, server: Sshd, there: Path, files: Sequence[Path]) -> Case:
    """Return a case: a program of others puts the files there."""

    def run() -> Sample:
        empty(there)
        ran = run_all([tool(server, there, files)])
        return Sample(len(files), ran.seconds, ran.cpu, ran.peak)

    return run


def ours(kind: str, server: Sshd, there: Path, files: Sequence[Path], home: Path) -> Case:
    """Return a case: our adapter puts the files there."""
    settings = home / f"{kind}.json"
    settings.write_text(json.dumps({"type": kind, **server.settings(path=str(there))}))
    environment = {"CROSSDOCK_DATA": str(home / "data")}

    def run() -> Sample:
        empty(there)
        return deliver("deliver.py", settings, files=files, home=home, environment=environment)

    return run


def measure(kind: str, doc: str | None, reference: str, tools: dict[str, Tool]) -> None:
    """Measure small instances, then a large one, beside the tools that people use."""
    arguments = options(doc).parse_args()
    with workplace(arguments) as home, sshd(home / "sshd") as server:
        there = home / "there"
        there.mkdir()
        for words, files, rounds in works(arguments):
            cases = {name: of_tool(tool, server, there, files) for name, tool in tools.items()}
            cases["crossdock"] = ours(kind, server, there, files, home)
            show(f"{kind}, {words}", alternate(cases, rounds), reference)
