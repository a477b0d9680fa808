"""Alternating rounds: each case in turn, again and again, and the median of each."""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


_DATA = Path("/dev/shm/crossdock-bench")  # noqa: S108 — in memory, and kept for the next run


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a case: seconds, CPU seconds of the program under measurement, bytes of memory."""

    instances: int
    seconds: float
    cpu: float
    peak: int
    growth: int = 0


Case = Callable[[], Sample]


def alternate(cases: Mapping[str, Case], rounds: int) -> dict[str, list[Sample]]:
    """Run every case once per round, after one round that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            sample = case()
            if number:
                samples[name].append(sample)
    return samples


def show(title: str, samples: Mapping[str, Sequence[Sample]], reference: str) -> None:
    """Print a table: rate, ratio to the reference's rate, CPU, peak memory."""
    rates = {name: _rate(taken) for name, taken in samples.items()}
    cpus = {name: _cpu(taken) for name, taken in samples.items()}
    print(f"\n### {title}\n")
    print(f"| | instances/s | × {reference} | CPU ms each | × | peak MB | grown by MB |")
    print("|---|---|---|---|---|---|---|")
    for name, taken in samples.items():
        peak = max(each.peak for each in taken) / 1e6
        growth = max(each.growth for each in taken) / 1e6
        rate, cpu = rates[name] / rates[reference], cpus[name] / max(cpus[reference], 1e-9)
        print(
            f"| {name} | {rates[name]:.5g} | {rate:.2f} | {cpus[name]:.3f} | {cpu:.2f} "
            f"| {peak:.0f} | {growth:.0f} |",
            flush=True,
        )


def _rate(samples: Sequence[Sample]) -> float:
    return statistics.median(each.instances / each.seconds for each in samples)


def _cpu(samples: Sequence[Sample]) -> float:
    return statistics.median(1000 * each.cpu / each.instances for each in samples)


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, two rounds")
    parser.add_argument(
        "--data",
        type=Path,
        default=_DATA,
        help="generated files go here",
    )
    parser.add_argument("--work", type=Path, help="peers work here; beside --data if left out")
    parser.add_argument("--only", default="", help="run the tables whose title holds this")
    return parser


@contextmanager
def workplace(arguments: argparse.Namespace) -> Iterator[Path]:
    """Make a directory for the peers, and remove it at the end; say first what machine it is."""
    if arguments.quick:
        arguments.rounds = min(arguments.rounds, 2)
    parent = arguments.work or arguments.data
    parent.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, files in {parent}, load {load:.2f} at the start"
    )
    home = Path(tempfile.mkdtemp(prefix="work-", dir=parent))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
        print(f"\nload {os.getloadavg()[0]:.2f} at the end")
