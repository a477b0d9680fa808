"""The numbers that only the database knows, for Prometheus."""

import threading
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from config_api.configuration import Configuration
from config_api.database import DatabaseUnavailable
from config_api.queued import Unfinished
from config_api.records import Records
from crossdock.model import DeliveryState


_CACHED_SECONDS = 5.0  # however often somebody scrapes


class LedgerCollector(Collector):
    """Says what is unfinished when it is scraped, at most every few seconds.

    A target that is gone is there for as long as it has unfinished deliveries. While the database
    is away the series are missing, which an alert can see; a stale number could not be told from a
    true one.
    """

    def __init__(
        self, records: Records, configuration: Configuration, registry: CollectorRegistry
    ) -> None:
        self._records = records
        self._configuration = configuration
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
        deliveries, oldest, standstill = _families()
        try:
            targets = self._configuration.current().gateway.targets
            left = self._records.unfinished()
        except DatabaseUnavailable:
            return []
        now = time.time()
        for name in {each.name for each in targets} | left.keys():
            each = left.get(name, Unfinished())
            since = now if each.oldest_waiting is None else each.oldest_waiting
            deliveries.add_metric([name, DeliveryState.WAITING], each.waiting)
            deliveries.add_metric([name, DeliveryState.HELD], each.held)
            oldest.add_metric([name], max(0.0, now - since))
        for target in targets:
            standstill.add_metric([target.name], bool(target.standstill))
        return [deliveries, oldest, standstill]


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            "crossdock_deliveries", "Unfinished deliveries.", labels=["target", "state"]
        ),
        GaugeMetricFamily(
            "crossdock_oldest_waiting_delivery_seconds",
            "Age of the oldest waiting delivery, 0 where none waits.",
            labels=["target"],
        ),
        GaugeMetricFamily(
            "crossdock_target_standstill",
            "1 while a person has paused or disabled a target, else 0.",
            labels=["target"],
        ),
    )
