"""What RabbitMQ is told to have before anybody connects: a ``definitions.json`` for it to load.

``python -m crossdock.bus.rabbitmq.definitions`` prints it. A bus declares what it misses, so this
is for who wants to see, limit or monitor the queues beforehand. Queues of targets, delays and
answers are made as they are needed. Users and their rights are secrets, and in no file of ours.
"""

import json
from typing import Any

from crossdock.bus.rabbitmq.bus import exchange_name
from crossdock.bus.rabbitmq.ladder import work_arguments
from crossdock.bus.topology import QUEUES, TOPICS


VHOST = "/"


def definitions() -> dict[str, Any]:
    """Return the vhost with its queues and exchanges, exactly as a bus would declare them."""
    return {
        "vhosts": [{"name": VHOST, "default_queue_type": "quorum"}],
        "queues": [_queue(name) for name in QUEUES],
        "exchanges": [_exchange(topic) for topic in TOPICS],
    }


def _queue(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "vhost": VHOST,
        "durable": True,
        "auto_delete": False,
        "arguments": work_arguments(),
    }


def _exchange(topic: str) -> dict[str, Any]:
    return {
        "name": exchange_name(topic),
        "vhost": VHOST,
        "type": "fanout",
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def main() -> None:
    """Print the definitions as JSON."""
    print(json.dumps(definitions(), indent=2))  # noqa: T201 — a command prints


if __name__ == "__main__":
    main()
