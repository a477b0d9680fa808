"""Says why a delivery waits that nothing is wrong with.

Somebody disabled or paused its target, the target's time window is closed, or the target keeps the
order of a series and an older delivery is not done yet.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from config_api.answers import DeliverySummary
from config_api.records import Records
from crossdock.config import Gateway, Target
from crossdock.model import DeliveryState, Priority


Delivery = TypeVar("Delivery", bound=DeliverySummary)


def explained(
    found: Iterable[Delivery], gateway: Gateway, records: Records, now: float
) -> list[Delivery]:
    """Return deliveries, those that wait with the reason and the next try.

    Raises:
        DatabaseUnavailable: the database cannot be used.
    """
    targets = {
        each.name: each
        for each in gateway.targets
        if each.standstill or each.windows or each.keep_order
    }
    return [
        _explained(each, targets[each.target], records, now)
        if each.state is DeliveryState.WAITING and each.target in targets
        else each
        for each in found
    ]


def _explained(delivery: Delivery, target: Target, records: Records, now: float) -> Delivery:
    if target.standstill:
        reason = "; ".join(filter(None, (target.standstill, delivery.reason)))
        return delivery.model_copy(update={"reason": reason, "next_try": None})
    any_time = delivery.priority is Priority.URGENT and target.urgent_any_time
    if not any_time and not target.is_open(now):
        words, next_try = window_words(target, now), _opening(target, delivery, now)
    elif target.keep_order and (older := records.older_waiting(delivery)):
        words, next_try = f"{older} is an older delivery of its series", delivery.next_try
    else:
        return delivery
    last = f"; the last attempt: {delivery.reason}" if delivery.reason else ""
    return delivery.model_copy(update={"reason": f"waits: {words}{last}", "next_try": next_try})


def window_words(target: Target, now: float) -> str:
    """Return when the closed window of a target opens, in words; empty if it is open."""
    if not target.windows or target.is_open(now):
        return ""
    opens = target.next_change(now)
    if opens is None:
        return "its time window is closed"
    local = datetime.fromtimestamp(opens, ZoneInfo(target.time_zone))
    return f"its time window opens {local:%a %Y-%m-%d %H:%M} ({target.time_zone})"


def _opening(target: Target, delivery: DeliverySummary, now: float) -> datetime | None:
    """Return when a delivery is tried that waits for a window: as planned, or once that opens."""
    opens = target.next_change(now)
    times = [datetime.fromtimestamp(opens, UTC)] if opens is not None else []
    return max([*times, *filter(None, [delivery.next_try])], default=None)
