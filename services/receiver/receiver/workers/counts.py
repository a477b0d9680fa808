"""What workers count, summed.

Each worker counts in files of its own, which survive it. Gauges are not summed: what they tell, the
receiver itself knows.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import REGISTRY, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


def prepare(counts: Path) -> None:
    """Make an empty directory for the workers to count in."""
    shutil.rmtree(counts, ignore_errors=True)
    counts.mkdir(parents=True)


def count_into(counts: Path) -> None:
    """Have this process count in files below a directory. Call it before anything is counted."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counts)
    # It is decided on import; a worker is forked after it.
    values.ValueClass = values.get_value_class()


class Summed(Collector):
    """This process's metrics, with the counts of all workers that there are and were."""

    def __init__(self, counts: Path) -> None:
        self._workers = MultiProcessCollector(None, str(counts))

    def collect(self) -> Iterable[Metric]:
        """Return all families."""
        families = {family.name: family for family in REGISTRY.collect()}
        for family in self._workers.collect():
            if family.type != "gauge":
                own = families.setdefault(family.name, Metric(family.name, "", family.type))
                own.samples = _sum([*own.samples, *family.samples])
        return families.values()


def _sum(samples: Iterable[Sample]) -> list[Sample]:
    sums: dict[tuple[object, ...], Sample] = {}
    for sample in samples:
        key = (sample.name, *sorted(sample.labels.items()))
        before = sums.get(key)
        value = sample.value + (before.value if before else 0.0)
        sums[key] = sample._replace(value=value)
    return list(sums.values())
