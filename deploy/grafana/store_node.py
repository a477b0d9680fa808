"""The dashboard of one store node, or several."""

from panels import GOOD_IS_ONE, GOOD_IS_ZERO, dashboard, graph, number, numbers, pace, quantiles


_CHOSEN = '{store_node=~"$store_node"}'
_OPEN = f"sum by (store_node) (crossdock_associations_open{_CHOSEN})"
_FAILED = 'crossdock_instances_received_total{store_node=~"$store_node", status!="0000"}'

_STATE = [
    numbers(
        "Listens",
        "store_node",
        f"min by (store_node) (crossdock_store_node_listening{_CHOSEN})",
        thresholds=GOOD_IS_ONE,
        yes_no=True,
    ),
    numbers("Associations open", "store_node", _OPEN),
    number(
        "Instances not stored, last hour",
        f"sum(increase({_FAILED}[1h])) or vector(0)",
        thresholds=GOOD_IS_ZERO,
    ),
    number(
        "Spool takes no more", "max(crossdock_spool_short)", thresholds=GOOD_IS_ZERO, yes_no=True
    ),
]
_RECEIVED = [
    pace("Received", "crossdock_received_bytes_total", "store_node", _CHOSEN, unit="Bps"),
    pace(
        "Instances, by status", "crossdock_instances_received_total", "store_node, status", _CHOSEN
    ),
]
_ASSOCIATIONS = [
    pace("Associations asked for", "crossdock_associations_total", "store_node, result", _CHOSEN),
    graph("Associations open", "store_node", _OPEN),
    quantiles("Duration of associations", "crossdock_association_duration_seconds", _CHOSEN),
]
_WORKERS = [
    graph("Connections, by worker", "worker", "sum by (worker) (crossdock_worker_connections)"),
    graph("Workers that died, last hour", "", "sum(increase(crossdock_workers_died_total[1h]))"),
]
_COMMITMENT = [
    pace(
        "Commitment: requests",
        "crossdock_commitment_requests_total",
        "store_node, status",
        _CHOSEN,
    ),
    pace(
        "Commitment: results told",
        "crossdock_commitment_reports_total",
        "store_node, result",
        _CHOSEN,
    ),
    graph("Commitment: results owed", "", "max(crossdock_commitment_reports_owed)"),
]

STORE_NODE = dashboard(
    "crossdock-store-node",
    "Crossdock: store node",
    [(4, _STATE), (8, _RECEIVED), (8, _ASSOCIATIONS), (8, _WORKERS), (8, _COMMITMENT)],
    "store_node",
    "crossdock_store_node_listening",
)
