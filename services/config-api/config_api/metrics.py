"""The numbers that only the database knows, for Prometheus."""

import threading
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from config_api.database import DatabaseUnavailable
from config_api.records import Records


_CACHED_SECONDS = 5.0  # however often somebody scrapes


class LedgerCollector(Collector):
    """Counts deliveries when it is scraped, at most every few seconds.

    While the database is away the series are missing, which an alert can see; a stale number could
    not be told from a true one.
    """

    def __init__(self, records: Records, registry: CollectorRegistry) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._until = 0.0
        self._families: list[GaugeMetricFamily] = []
        registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the families without values, so that registering asks no database."""
        return _families()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the families with the values of now or a moment ago."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._families = self._query()
                self._until = time.monotonic() + _CACHED_SECONDS
            return self._families

    def _query(self) -> list[GaugeMetricFamily]:
        deliveries, oldest = _families()
        try:
            counts, left = self._records.counts(), self._records.unfinished()
        except DatabaseUnavailable:
            return []
        for (target, state), count in counts.items():
            deliveries.add_metric([target, state], count)
        for target, each in left.items():
            if each.oldest_waiting is not None:
                oldest.add_metric([target], max(0.0, time.time() - each.oldest_waiting))
        return [deliveries, oldest]


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            "crossdock_deliveries", "Deliveries in the ledger.", labels=["target", "state"]
        ),
        GaugeMetricFamily(
            "crossdock_oldest_waiting_delivery_seconds",
            "Age of the oldest waiting delivery.",
            labels=["target"],
        ),
    )
