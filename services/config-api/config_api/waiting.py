"""Says why a delivery waits that nothing is wrong with: its target's time window is closed."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from config_api.answers import DeliverySummary
from crossdock.config import Gateway, Target
from crossdock.model import DeliveryState, Priority


Delivery = TypeVar("Delivery", bound=DeliverySummary)


def explained(found: Iterable[Delivery], gateway: Gateway, now: float) -> list[Delivery]:
    """Return deliveries with the reason and the next try of those that wait for a time window."""
    closed = {
        target.name: target
        for target in gateway.targets
        if target.windows and not target.is_open(now)
    }
    return [
        _waits_for(closed[each.target], each, now)
        if each.target in closed and _waits(each, closed[each.target])
        else each
        for each in found
    ]


def _waits(delivery: DeliverySummary, target: Target) -> bool:
    any_time = delivery.priority is Priority.URGENT and target.urgent_any_time
    return delivery.state is DeliveryState.WAITING and not any_time


def window_words(target: Target, now: float) -> str:
    """Return when the closed window of a target opens, in words; empty if it is open."""
    if not target.windows or target.is_open(now):
        return ""
    opens = target.next_change(now)
    if opens is None:
        return "its time window is closed"
    local = datetime.fromtimestamp(opens, ZoneInfo(target.time_zone))
    return f"its time window opens {local:%a %Y-%m-%d %H:%M} ({target.time_zone})"


def _waits_for(target: Target, delivery: Delivery, now: float) -> Delivery:
    opens = target.next_change(now)
    times = [datetime.fromtimestamp(opens, UTC)] if opens is not None else []
    if delivery.next_try is not None:
        times.append(delivery.next_try)
    last = f"; the last attempt: {delivery.reason}" if delivery.reason else ""
    return delivery.model_copy(
        update={
            "reason": f"waits: {window_words(target, now)}{last}",
            "next_try": max(times, default=None),
        }
    )
