"""How fast the folder adapter stores, beside what does the same without an adapter.

``loop`` makes the same promise with nothing else: each file copied by the kernel and synced, then
its directory. ``cp + sync`` is coreutils: one ``cp`` of everything, then one ``sync`` of each file
and the directory, which promises nothing before its end; both processes are counted from their
start. Name a directory on a disk with ``--work``: in memory a sync costs nothing.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from deliveries import deliver, works
from processes import run_all
from rounds import Case, Sample, alternate, options, show, workplace


LOOP = "loop with the same syncs"


def program(how: str, files: list[Path], home: Path) -> Case:
    """Return a case: copy the files by one of the program's ways."""

    def run() -> Sample:
        directory = Path(tempfile.mkdtemp(dir=home))
        sample = deliver("folder.py", how, directory, files=files, home=home)
        shutil.rmtree(directory)
        return sample

    return run


def coreutils(files: list[Path], home: Path) -> Case:
    """Return a case: ``cp`` of everything, and then ``sync`` of everything."""

    def run() -> Sample:
        directory = Path(tempfile.mkdtemp(dir=home))
        began = time.perf_counter()
        copied = run_all([["/bin/cp", *files, directory]])
        synced = run_all([["/bin/sync", *sorted(directory.iterdir()), directory]])
        seconds = time.perf_counter() - began
        shutil.rmtree(directory)
        return Sample(len(files), seconds, copied.cpu + synced.cpu, max(copied.peak, synced.peak))

    return run


def main() -> None:
    """Measure many files, and one that is large."""
    arguments = options(__doc__).parse_args()
    with workplace(arguments) as home:
        subprocess.run(["/bin/sync"], check=True)  # what others wrote is not ours to wait for
        for words, files, _ in works(arguments):
            cases = {
                LOOP: program("loop", files, home),
                "cp + sync": coreutils(files, home),
                "crossdock": program("adapter", files, home),
            }
            show(f"folder, {words}", alternate(cases, arguments.rounds), LOOP)


if __name__ == "__main__":
    main()
