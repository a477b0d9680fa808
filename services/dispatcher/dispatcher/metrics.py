"""What a dispatcher counts. Labels are names from the configuration, never from a patient."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram


INSTANCES = Counter(
    "crossdock_instances_delivered",
    "Instances by what became of them.",
    ["target", "protocol", "outcome"],
)
BYTES = Counter(
    "crossdock_delivered_bytes",
    "Bytes of the instances that targets confirmed.",
    ["target", "protocol"],
)
ATTEMPTS = Counter(
    "crossdock_attempts",
    "Attempts by result: delivered, or the kind of failure.",
    ["target", "result"],
)
SECONDS = Histogram(
    "crossdock_attempt_duration_seconds",
    "Duration of attempts at deliveries.",
    ["target"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800),
)
LATENCY = Histogram(
    "crossdock_delivery_latency_seconds",
    "From the arrival of a parcel, or being sent anew by a person, to the end of its delivery.",
    ["target", "protocol"],
    buckets=(1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400, 259200, 604800),
)
IN_WORK = Gauge("crossdock_deliveries_in_work", "Deliveries being sent now.", ["target"])
PAUSED = Gauge("crossdock_target_paused", "1 while a target that failed is left alone.", ["target"])
WINDOW_CLOSED = Gauge(
    "crossdock_target_window_closed", "1 while a target's time windows are closed.", ["target"]
)
COMMITMENTS = Counter(
    "crossdock_commitments",
    "Instances by what a target said to a request for storage commitment.",
    ["target", "result"],
)
PAUSED_UNTIL = Gauge(
    "crossdock_target_paused_until_timestamp_seconds",
    "Unix time at which a target that failed is tried again; 0 while it is not left alone.",
    ["target"],
)
REPEATED = Counter(
    "crossdock_instances_repeated",
    "Instances that a target had before: skipped as identical, or replaced by other bytes.",
    ["target", "how"],
)


class Standings:
    """Shows how each target stands; sets only what has changed, for there may be a thousand."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[float, bool]] = {}

    def show(self, standings: Mapping[str, tuple[float, bool]]) -> None:
        """Show until when (Unix time, 0 for not) a target is left alone, and if its window is closed.

        Targets that are not in ``standings`` are gone, and so are their metrics.
        """
        for name in self._shown.keys() - standings.keys():
            for metric in (PAUSED, PAUSED_UNTIL, WINDOW_CLOSED):
                metric.remove(name)
        for name, (until, closed) in standings.items():
            if self._shown.get(name) != (until, closed):
                PAUSED.labels(name).set(until > 0)
                PAUSED_UNTIL.labels(name).set(until)
                WINDOW_CLOSED.labels(name).set(closed)
        self._shown = dict(standings)
