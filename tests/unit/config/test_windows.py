"""Time windows: open by the clock on a wall, in every zone and on the nights of its changes."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crossdock.cli.document import Document
from crossdock.config.snapshot import parse_gateway, parse_object
from crossdock.config.windows import DAYS, Window, next_change, open_at
from crossdock.errors import ConfigError


BERLIN = ZoneInfo("Europe/Berlin")
FOLDER = {"name": "night", "type": "folder", "path": "/data"}
SPRING, AUTUMN = "2026-03-29", "2026-10-25"  # the clocks of Berlin go 02:00 → 03:00, 03:00 → 02:00


def window(opens, closes, *days):
    document = {"from": opens, "to": closes} | ({"days": days} if days else {})
    return Window.model_validate(document)


def at(text, zone=BERLIN):
    """The Unix time of a wall clock's time in a zone; of two, the earlier."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def utc(text):
    return at(text, UTC)


def problems(**changes):
    with pytest.raises(ConfigError) as caught:
        parse_object("targets", FOLDER | changes)
    return {problem.field: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("when", "opened"),
    [
        ("2026-11-23T18:59:59", False),  # a Monday
        ("2026-11-23T19:00:00", True),
        ("2026-11-24T06:29:59", True),
        ("2026-11-24T06:30:00", False),
        ("2026-11-27T19:00:00", True),
        ("2026-11-28T06:29:00", True),  # Saturday: it began on Friday
        ("2026-11-28T19:00:00", False),
        ("2026-11-23T05:00:00", False),  # Monday morning: Sunday is not among the days
    ],
)
def test_a_window_past_midnight_belongs_to_the_day_on_which_it_begins(when, opened):
    nights = [window("19:00", "06:30", "mon", "tue", "wed", "thu", "fri")]
    assert open_at(nights, BERLIN, at(when)) is opened


def test_a_window_that_ends_when_it_begins_is_open_all_day():
    sunday = [window("00:00", "00:00", "sun")]
    assert next_change(sunday, BERLIN, at("2026-11-28T23:00")) == at("2026-11-29T00:00")
    assert next_change(sunday, BERLIN, at("2026-11-29T00:00")) == at("2026-11-30T00:00")


def test_without_windows_and_with_one_that_never_closes_nothing_changes():
    assert open_at([], BERLIN, 0.0)
    assert next_change([], BERLIN, 0.0) is None
    assert next_change([window("08:00", "08:00")], BERLIN, at("2026-11-23T12:00")) is None


def test_windows_that_touch_are_one():
    both = [window("08:00", "12:00"), window("12:00", "13:00")]
    assert next_change(both, BERLIN, at("2026-11-23T09:00")) == at("2026-11-23T13:00")


def test_an_hour_that_is_left_out_opens_nothing_until_the_next_night():
    hour = [window("02:00", "03:00")]
    evening = at(f"{SPRING}T00:00")
    assert next_change(hour, BERLIN, evening) == at("2026-03-30T02:00")
    assert next_change([window("02:00", "03:00", "sun")], BERLIN, evening) == at("2026-04-05T02:00")


def test_a_window_that_begins_in_the_hour_left_out_opens_when_the_clocks_are_changed():
    late = [window("02:30", "04:00")]
    assert next_change(late, BERLIN, at(f"{SPRING}T01:00")) == utc(f"{SPRING}T01:00")
    assert next_change(late, BERLIN, at(f"{SPRING}T03:00")) == utc(f"{SPRING}T02:00")


def test_an_hour_that_is_there_twice_is_open_twice():
    hour = [window("02:00", "03:00")]
    opens = next_change(hour, BERLIN, at(f"{AUTUMN}T00:00"))
    assert opens == utc(f"{AUTUMN}T00:00")
    assert next_change(hour, BERLIN, opens) == utc(f"{AUTUMN}T02:00")


def test_a_window_that_ends_in_the_hour_that_is_there_twice_opens_again():
    half = [window("01:30", "02:30")]
    changes = [at(f"{AUTUMN}T01:00")]
    for _ in range(4):
        changes.append(next_change(half, BERLIN, changes[-1]))
    assert changes[1:] == [
        utc("2026-10-24T23:30"),
        utc(f"{AUTUMN}T00:30"),
        utc(f"{AUTUMN}T01:00"),
        utc(f"{AUTUMN}T01:30"),
    ]


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("Asia/Kathmandu", "2026-11-23T13:15"),
        ("America/St_Johns", "2026-11-23T22:30"),
        ("Pacific/Apia", "2026-11-23T06:00"),
    ],
)
def test_zones_that_are_not_whole_hours_away_are_right(zone, shown):
    nights = [window("19:00", "23:00")]
    assert next_change(nights, ZoneInfo(zone), utc(shown) - 3600) == utc(shown)
    assert next_change(nights, ZoneInfo(zone), utc(shown)) == utc(shown) + 4 * 3600


MINUTES = st.integers(0, 1439).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
WINDOWS = st.lists(
    st.builds(
        lambda days, opens, closes: window(opens, closes, *days),
        st.lists(st.sampled_from(DAYS), min_size=1, unique=True),
        MINUTES,
        MINUTES,
    ),
    min_size=1,
    max_size=3,
)
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"]
)
NIGHTS = st.sampled_from([f"{SPRING}T01:00", f"{AUTUMN}T00:30", "2026-07-01T12:00"])


@settings(max_examples=150, deadline=None)
@given(WINDOWS, ZONES, NIGHTS, st.integers(-3 * 1440, 3 * 1440))
@example([window("02:00", "03:00")], "Europe/Berlin", f"{AUTUMN}T00:30", 0)
def test_nothing_changes_before_the_next_change_and_something_does_at_it(
    windows, name, night, minutes
):
    zone = ZoneInfo(name)
    now = utc(night) + minutes * 60
    opened = open_at(windows, zone, now)
    change = next_change(windows, zone, now)
    end = now + 3 * 86400 if change is None else change
    steps = range(int(now), int(min(end, now + 3 * 86400)), 60)
    assert all(open_at(windows, zone, step) is opened for step in steps)
    if change is not None:
        assert open_at(windows, zone, change) is not opened
        assert open_at(windows, zone, change - 1) is opened


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"windows": [{"from": "19:00"}]}, "windows[0].to", "is missing"),
        ({"windows": [{"from": "24:00", "to": "06:00"}]}, "windows[0].from", "23:59"),
        ({"windows": [{"from": 1140, "to": "06:00"}]}, "windows[0].from", "quotation"),
        ({"windows": [{"from": "9:00", "to": "10:00"}]}, "windows[0].from", "time of day"),
        (
            {"windows": [{"from": "09:00", "to": "10:00", "days": ["today"]}]},
            "windows[0].days[0]",
            "",
        ),
        (
            {"windows": [{"from": "09:00", "to": "10:00", "days": []}]},
            "windows[0].days",
            "at least",
        ),
        (
            {"windows": [{"from": "09:00", "to": "10:00", "until": "x"}]},
            "windows[0].until",
            "no such",
        ),
        ({"time_zone": "Berlin"}, "time_zone", "IANA"),
        ({"time_zone": "Europe/Berln"}, "time_zone", "did you mean 'Europe/Berlin'"),
        ({"time_zone": "../../etc/passwd"}, "time_zone", "IANA"),
        ({"time_zone": "Europe"}, "time_zone", "IANA"),
        ({"time_zone": "Z\0"}, "time_zone", "IANA"),
        ({"time_zone": "x" * 300}, "time_zone", "IANA"),
        ({"time_zone": ""}, "time_zone", "IANA"),
    ],
)
def test_a_mistake_is_named_by_its_field(changes, field, said):
    assert said in problems(**changes)[field]


def test_what_was_written_is_written_down_as_it_was():
    windows = [
        {"days": ["sat", "sun"], "from": "00:00", "to": "00:00"},
        {"from": "19:00", "to": "06:30"},
    ]
    target = FOLDER | {"windows": windows, "time_zone": "Europe/Berlin"}
    document = parse_gateway({"targets": [target]}).document()
    assert document["targets"] == [target]
    assert parse_gateway(document).document() == document


def test_a_time_of_day_needs_no_quotation_marks_in_a_file(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text("{from: 19:00, to: 06:30, days: [mon], port: 1140}")
    data = Document(file).data
    assert data == {"from": "19:00", "to": "06:30", "days": ["mon"], "port": 1140}
