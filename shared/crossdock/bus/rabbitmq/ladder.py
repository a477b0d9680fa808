"""How RabbitMQ is asked for things: queues, and delays as a ladder of queues.

RabbitMQ drops expired messages only at the head of a queue, so messages with different delays must
not share one: a long delay at the head would hold up the short ones behind it. Each work queue
therefore has a delay queue per rung, made when first needed, where every message has the same TTL.
"""

from bisect import bisect_left
from typing import Any


RUNGS = (
    *(0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 45),
    *(60, 90, 120, 180, 300, 420, 600, 900, 1200, 1800, 2700),
    *(3600, 5400, 7200, 10800, 14400, 21600, 28800, 43200, 86400),
)
"""Seconds. A delay is rounded up, by at most a half where it is longer than half a second."""

# RabbitMQ 4 drops a message that came back 20 times. A consumer that is paused or reconnects gives
# messages back without any fault of theirs; how often a handler may fail is counted in the letter.
_WORK = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}


def rung(delay: float) -> float:
    """Return the shortest delay on the ladder that is not shorter than ``delay``, or the longest."""
    return float(RUNGS[min(bisect_left(RUNGS, delay), len(RUNGS) - 1)])


def work_arguments() -> dict[str, Any]:
    """Return the arguments of a work queue: replicated where there are several brokers."""
    return dict(_WORK)


def delay_queue(queue: str, seconds: float) -> str:
    """Return the name of the delay queue of ``queue`` on one rung."""
    return f"{queue}@{seconds:g}s"


def delay_arguments(queue: str, seconds: float) -> dict[str, Any]:
    """Return the arguments of a delay queue.

    Dead-lettering at least once needs reject-publish as overflow. There is no ``x-expires``:
    a quorum queue does not renew its lease when it is declared again, and would go with its messages.
    """
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": int(seconds * 1000),
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
