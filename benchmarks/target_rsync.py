"""How fast an rsync target takes instances, beside ``rsync -a`` that syncs each file as we do."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ssh_cases import CHEAP, Sshd, Tool, measure, ssh_options


def rsync(*more: str) -> Tool:
    """Return rsync over OpenSSH's ssh as a tool."""

    def command(server: Sshd, there: Path, files: Sequence[Path]) -> list[object]:
        shell = shlex.join(["ssh", "-p", str(server.port), *ssh_options(server, *more)])
        place = f"{server.user}@127.0.0.1:{there}/"
        return ["/usr/bin/rsync", "-a", "--fsync", "-e", shell, *files, place]

    return command


if __name__ == "__main__":
    tools = {"rsync -a": rsync(), "rsync -a, our cipher": rsync(*CHEAP)}
    measure("rsync", __doc__, "rsync -a", tools)
