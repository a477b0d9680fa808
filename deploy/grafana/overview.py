"""The dashboard of the whole gateway."""

from panels import (
    GOOD_IS_ONE,
    GOOD_IS_ZERO,
    SHARE_LEFT,
    UNTIL_AN_HOUR,
    dashboard,
    graph,
    number,
    numbers,
    pace,
    quantiles,
    table,
)


_DOWN = 'up{job=~"crossdock.*|receiver|router|dispatcher.*|tester|config-api|rabbitmq"} == 0'
_WAITING = 'crossdock_deliveries{state="waiting"}'
_HELD = 'crossdock_deliveries{state="held"}'
_OLDEST = "crossdock_oldest_waiting_delivery_seconds"
_RED = "min by (target) (crossdock_target_up) == 0"
_FREE = "min(crossdock_spool_free_bytes)"

_STATE = [
    number("Services down", f"count({_DOWN}) or vector(0)", thresholds=GOOD_IS_ZERO),
    number("Deliveries waiting", f"sum(max by (target) ({_WAITING}))"),
    number("Deliveries held", f"sum(max by (target) ({_HELD}))", thresholds=GOOD_IS_ZERO),
    number("Oldest waiting", f"max({_OLDEST})", unit="s", thresholds=UNTIL_AN_HOUR),
    number("Targets red", f"count({_RED}) or vector(0)", thresholds=GOOD_IS_ZERO),
    number(
        "Spool free",
        f"{_FREE} / max(crossdock_spool_volume_bytes)",
        unit="percentunit",
        thresholds=SHARE_LEFT,
    ),
]
_BYTES = [
    pace("Received, by store node", "crossdock_received_bytes_total", "store_node", unit="Bps"),
    pace("Delivered, by target", "crossdock_delivered_bytes_total", "target", unit="Bps"),
]
_INSTANCES = [
    pace("Instances received, by status", "crossdock_instances_received_total", "status"),
    pace("Instances delivered, by outcome", "crossdock_instances_delivered_total", "outcome"),
]
_QUEUES = [
    graph("Deliveries waiting, by target", "target", f"max by (target) ({_WAITING})"),
    graph("Oldest waiting, by target", "target", f"max by (target) ({_OLDEST})", unit="s"),
]
_DELIVERING = [
    quantiles("From arrival to delivery", "crossdock_delivery_latency_seconds"),
    pace("Attempts, by result", "crossdock_attempts_total", "result"),
    graph("Deliveries held, by target", "target", f"max by (target) ({_HELD})"),
]
_SPOOL = [
    graph(
        "Spool: free, and its marks",
        "mark",
        _FREE,
        "max by (mark) (crossdock_spool_mark_bytes)",
        unit="bytes",
        note="The curve without a name is what is free.",
    ),
    graph("Spool: parcels", "state", "max by (state) (crossdock_spool_parcels)"),
    graph("Spool: bytes", "state", "max by (state) (crossdock_spool_bytes)", unit="bytes"),
    pace("Spool: deleted", "crossdock_spool_deleted_bytes_total", "reason", unit="Bps"),
]
_SERVICES = [
    numbers(title, "instance", f"min by (instance) ({metric})", thresholds=GOOD_IS_ONE, yes_no=True)
    for title, metric in (
        ("Ready", "crossdock_ready"),
        ("Has its broker", "crossdock_broker_connected"),
    )
]
_TABLES = [
    table("Alerts", 'ALERTS{alertname=~"Crossdock.+"}'),
    table("Versions", "count by (service, version) (crossdock_build_info)"),
]
_INSIDE = [
    pace("Parcels routed, by result", "crossdock_parcels_routed_total", "result"),
    pace("Ledger: events", "crossdock_ledger_events_total", "type"),
    pace("API: requests, by status", "crossdock_http_requests_total", "status", unit="reqps"),
    quantiles("API: time to answer", "crossdock_http_request_duration_seconds"),
]

OVERVIEW = dashboard(
    "crossdock-overview",
    "Crossdock: overview",
    [
        (4, _STATE),
        (8, _BYTES),
        (8, _INSTANCES),
        (8, _QUEUES),
        (8, _DELIVERING),
        (8, _SPOOL),
        (8, [*_SERVICES, *_TABLES]),
        (8, _INSIDE),
    ],
)
