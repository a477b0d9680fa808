"""The dashboard of one target, or several."""

from panels import (
    GOOD_IS_ONE,
    GOOD_IS_ZERO,
    NOTED,
    UNTIL_AN_HOUR,
    UNTIL_TWO_WEEKS,
    dashboard,
    graph,
    numbers,
    pace,
    quantiles,
)


_CHOSEN = '{target=~"$target"}'
_WAITING = 'max by (target) (crossdock_deliveries{target=~"$target", state="waiting"})'
_HELD = 'max by (target) (crossdock_deliveries{target=~"$target", state="held"})'


def _max(metric: str) -> str:
    return f"max by (target) ({metric}{_CHOSEN})"


_EXPIRY = _max("crossdock_target_certificate_expiry_timestamp_seconds")
_UNTIL = _max("crossdock_target_paused_until_timestamp_seconds")

_STATE = [
    numbers(
        "Green",
        "target",
        f"min by (target) (crossdock_target_up{_CHOSEN})",
        thresholds=GOOD_IS_ONE,
        yes_no=True,
        note="By its last check.",
    ),
    numbers(
        "Left alone",
        "target",
        _max("crossdock_target_paused"),
        thresholds=NOTED,
        yes_no=True,
        note="It failed, and is tried again in a moment.",
    ),
    numbers(
        "Standing still",
        "target",
        _max("crossdock_target_standstill"),
        thresholds=NOTED,
        yes_no=True,
        note="A person has paused or disabled it.",
    ),
    numbers(
        "Time window closed",
        "target",
        _max("crossdock_target_window_closed"),
        thresholds=NOTED,
        yes_no=True,
    ),
]
_QUEUE = [
    numbers("Waiting", "target", _WAITING),
    numbers("Held", "target", _HELD, thresholds=GOOD_IS_ZERO),
    numbers(
        "Oldest waiting",
        "target",
        _max("crossdock_oldest_waiting_delivery_seconds"),
        unit="s",
        thresholds=UNTIL_AN_HOUR,
    ),
    numbers(
        "Certificate is valid for",
        "target",
        f"{_EXPIRY} - time()",
        unit="s",
        thresholds=UNTIL_TWO_WEEKS,
    ),
]
_SENT = [
    pace("Delivered", "crossdock_delivered_bytes_total", "target", _CHOSEN, unit="Bps"),
    pace(
        "Instances, by outcome", "crossdock_instances_delivered_total", "target, outcome", _CHOSEN
    ),
]
_WORK = [
    graph("Deliveries waiting", "target", _WAITING),
    graph(
        "Deliveries in work", "target", f"sum by (target) (crossdock_deliveries_in_work{_CHOSEN})"
    ),
    pace("Attempts, by result", "crossdock_attempts_total", "target, result", _CHOSEN),
]
_SECONDS = [
    quantiles("From arrival to delivery", "crossdock_delivery_latency_seconds", _CHOSEN),
    quantiles("Duration of attempts", "crossdock_attempt_duration_seconds", _CHOSEN),
    quantiles("Duration of checks", "crossdock_check_duration_seconds", _CHOSEN),
]
_MORE = [
    graph("Is tried again in", "target", f"{_UNTIL} - time() > 0", unit="s"),
    pace("Storage commitment", "crossdock_commitments_total", "target, result", _CHOSEN),
    pace("Instances it had before", "crossdock_instances_repeated_total", "target, how", _CHOSEN),
]

TARGET = dashboard(
    "crossdock-target",
    "Crossdock: target",
    [(4, _STATE), (4, _QUEUE), (8, _SENT), (8, _WORK), (8, _SECONDS), (8, _MORE)],
    "target",
    "crossdock_deliveries",
)
