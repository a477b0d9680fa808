"""How fast the folder adapter stores, beside what does the same without an adapter.

``loop`` makes the same promise with nothing else: each file copied by the kernel and synced, then
its directory. ``cp + sync`` is coreutils: one ``cp`` of everything, then one ``sync`` of each file
and the directory, which promises nothing before its end; both processes are counted from their
start. Name a directory on a disk with ``--work``: in memory a sync costs nothing.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from datasets import KINDS, generate, generate_one
from processes import run_all
from rounds import Case, Sample, alternate, options, show, workplace

from peers import PROGRAMS


LOOP = "loop with the same syncs"
_GIGABYTE = 1_000_000_000


def program(how: str, files: list[Path], home: Path) -> Case:
    """Return a case: copy the files by one of the program's ways."""
    names = home / f"{how}.list"
    names.write_text("\n".join(map(str, files)))

    def run() -> Sample:
        directory = Path(tempfile.mkdtemp(dir=home))
        ran = run_all([[sys.executable, PROGRAMS / "folder.py", how, directory, names]])
        seconds, cpu, grown = map(float, ran.output[0].split())
        shutil.rmtree(directory)
        return Sample(len(files), seconds, cpu, ran.peak, int(grown))

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
        cases = {
            "A": generate("A", arguments.data, quick=arguments.quick),
            "1 GB": [generate_one(home / "large.dcm", _GIGABYTE)],
        }
        for name, files in cases.items():
            words = f"folder, {KINDS[name].words}" if name in KINDS else f"folder, 1 × {name}"
            if arguments.only not in words:
                continue
            measured = {
                LOOP: program("loop", files, home),
                "cp + sync": coreutils(files, home),
                "crossdock": program("adapter", files, home),
            }
            show(words, alternate(measured, arguments.rounds), LOOP)


if __name__ == "__main__":
    main()
