"""What a tester measures. Labels are names from the configuration."""

from prometheus_client import Gauge, Histogram


_LABELS = ("target", "protocol")

UP = Gauge("crossdock_target_up", "1 if the target's last check was green, else 0.", _LABELS)
SECONDS = Histogram(
    "crossdock_check_duration_seconds",
    "Duration of the checks that this tester made.",
    _LABELS,
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 25),
)
CERTIFICATE_EXPIRY = Gauge(
    "crossdock_target_certificate_expiry_timestamp_seconds",
    "Unix time, to the day, at which the certificate that the target showed last expires.",
    _LABELS,
)
