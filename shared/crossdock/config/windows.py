"""Time windows: when a target takes deliveries. Pure: the clock is an argument.

A window is open whenever a clock on a wall of its time zone shows a time within it. So on the night
on which an hour is there twice, a window in that hour is open in both; on the night on which it is
left out, the window does not open.
"""

import difflib
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from crossdock.config.fields import Configured


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)

_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_HORIZONS = (2, 16)  # days; a window of one day a week may be left out by a change of the clocks


def _clock(value: object) -> object:
    """Check a time of day; YAML takes one without quotation marks for a number."""
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise ValueError('not a time of day from "00:00" to "23:59", in quotation marks')
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(value[:64], zoneinfo.available_timezones(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ", such as Europe/Berlin"
        raise ValueError(f"there is no such IANA time zone{hint}") from None
    return value


ClockTime = Annotated[str, BeforeValidator(_clock)]
TimeZone = Annotated[str, AfterValidator(_zone)]


class Window(Configured):
    """Some hours of some days, to the minute."""

    model_config = ConfigDict(serialize_by_alias=True)

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = Field(
        DAYS, description="The days on which it opens; every day if left out."
    )
    opens: ClockTime = Field(alias="from", description='When it opens, such as "19:00".')
    closes: ClockTime = Field(
        alias="to", description="When it closes; on the next day if that is not later than `from`."
    )

    def shows(self, weekday: int, minute: int) -> bool:
        """Whether it is open at a minute of a day; ``weekday`` 0 is Monday."""
        opens, closes = _minute(self.opens), _minute(self.closes)
        if opens < closes:
            return DAYS[weekday] in self.days and opens <= minute < closes
        late = DAYS[weekday] in self.days and minute >= opens
        early = DAYS[weekday - 1] in self.days and minute < closes
        return late or early


def open_at(windows: Sequence[Window], zone: ZoneInfo, now: float) -> bool:
    """Whether one of the windows is open at a Unix time; without windows, always."""
    local = datetime.fromtimestamp(now, zone)
    minute = local.hour * 60 + local.minute
    return not windows or any(window.shows(local.weekday(), minute) for window in windows)


def next_change(windows: Sequence[Window], zone: ZoneInfo, now: float) -> float | None:
    """Return the Unix time after ``now`` at which all close or one opens; None for never.

    Times beyond two weeks count as never.
    """
    if not windows:
        return None
    today = datetime.fromtimestamp(now, zone).date()
    opened = open_at(windows, zone, now)
    for days in _HORIZONS:
        possible = sorted(at for at in _possible(windows, zone, today, days) if at > now)
        for at in possible:
            if open_at(windows, zone, at) != opened:
                return at
    return None


def _possible(windows: Sequence[Window], zone: ZoneInfo, today: date, days: int) -> Iterator[float]:
    """Yield when a window may open or close: at its times of day, and when clocks are changed."""
    minutes = {_minute(time) for window in windows for time in (window.opens, window.closes)}
    for number in range(days + 1):
        midnight = datetime.combine(today + timedelta(number), datetime.min.time(), zone)
        for minute in minutes:
            shown = midnight.replace(hour=minute // 60, minute=minute % 60)
            yield shown.timestamp()
            yield shown.replace(fold=1).timestamp()
        yield from _clock_change(zone, midnight, midnight + timedelta(1))


def _clock_change(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[float]:
    """Yield the second between two midnights at which the zone's clocks are changed, if any."""
    early, late = int(begin.timestamp()), int(end.timestamp())
    before = _offset(zone, early)
    if before == _offset(zone, late):
        return
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (middle, late) if _offset(zone, middle) == before else (early, middle)
    yield float(late)


def _offset(zone: ZoneInfo, at: float) -> timedelta | None:
    return datetime.fromtimestamp(at, zone).utcoffset()


def _minute(time: str) -> int:
    return int(time[:2]) * 60 + int(time[3:])
