"""Files into a directory: ``folder.py HOW DIRECTORY LIST``, for the files named in LIST.

HOW is ``adapter``, which is our folder adapter, or ``loop``, which is the least that makes the same
promise: one file after the other, copied by the kernel, synced, and its directory synced.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from measured import adapter_of, instances_of, listed, measure, send_all

from crossdock.protocols import Outgoing


_AT_ONCE = 1 << 30


def adapter(directory: Path, instances: Sequence[Outgoing]) -> None:
    """Send the files as a dispatcher does."""
    with adapter_of({"type": "folder", "path": str(directory)}) as sending:
        send_all(sending, instances)


def loop(directory: Path, instances: Sequence[Outgoing]) -> None:
    """Copy the files with the same syncs, and nothing else."""
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for each in instances:
        source = os.open(each.path, os.O_RDONLY)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        copy = os.open(each.path.name, flags, 0o640, dir_fd=parent)
        offset = 0
        while copied := os.sendfile(copy, source, offset, _AT_ONCE):
            offset += copied
        os.fsync(copy)
        os.close(copy)
        os.close(source)
        os.fsync(parent)
    os.close(parent)


def main(how: str, directory: str, names: str) -> None:
    """Copy the files and say what it took."""
    way, instances = {"adapter": adapter, "loop": loop}[how], instances_of(listed(names))
    measure(lambda: way(Path(directory), instances))


if __name__ == "__main__":
    main(*sys.argv[1:])
