"""How fast an SFTP target takes instances, beside ``sftp -b`` that syncs each file as we do."""

from collections.abc import Sequence
from pathlib import Path

from ssh_cases import CHEAP, Sshd, Tool, measure, ssh_options


def sftp(*more: str) -> Tool:
    """Return OpenSSH's sftp with a batch of puts as a tool."""

    def command(server: Sshd, there: Path, files: Sequence[Path]) -> list[object]:
        batch = server.key.with_name("batch")
        # The @ keeps it from printing each line into a pipe that nobody reads before the end.
        batch.write_text("".join(f"@put -f {path} {there}/\n" for path in files))
        reach = ssh_options(server, *more)
        place = f"{server.user}@127.0.0.1"
        return ["/usr/bin/sftp", "-q", *reach, "-P", server.port, "-b", batch, place]

    return command


if __name__ == "__main__":
    tools = {"sftp -b": sftp(), "sftp -b, our cipher": sftp(*CHEAP)}
    measure("sftp", __doc__, "sftp -b", tools)
