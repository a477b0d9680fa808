"""What the benchmarks of targets share: what is sent, and one of our programs that sends it."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from datasets import KINDS, generate
from processes import run_all
from rounds import Sample

from peers import PROGRAMS


def works(arguments: argparse.Namespace) -> Iterator[tuple[str, list[Path], int]]:
    """Yield words, files and rounds: of many instances, then of a large one, for its memory."""
    for kind, rounds in (("A", arguments.rounds), ("E", 1)):
        words = KINDS[kind].words
        if arguments.only in words:
            yield words, generate(kind, arguments.data, quick=arguments.quick), rounds


def deliver(
    program: str,
    *words: object,
    files: Sequence[Path],
    home: Path,
    environment: Mapping[str, str] | None = None,
) -> Sample:
    """Run one of our programs on a list of files; return what it says that it took."""
    names = home / "files"
    names.write_text("\n".join(map(str, files)))
    ran = run_all([[sys.executable, PROGRAMS / program, *words, names]], environment)
    seconds, cpu, growth = map(float, ran.output[0].split())
    return Sample(len(files), seconds, cpu, ran.peak, int(growth))
