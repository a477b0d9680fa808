"""A pace holds whoever sends, in whatever pieces, and makes up for what was late."""

from hypothesis import given
from hypothesis import strategies as st

from crossdock.pace import UNLIMITED, Pace


RATE = 1_000_000.0


def test_without_a_limit_nothing_waits() -> None:
    assert UNLIMITED.delay(10**12, 0.0) == 0.0
    assert not UNLIMITED.limited
    assert list(UNLIMITED.through([b"x" * 10**6])) == [b"x" * 10**6]


@given(st.lists(st.tuples(st.integers(1, 300_000), st.floats(0, 0.5)), min_size=1, max_size=40))
def test_no_second_sees_more_than_its_bytes_however_senders_dawdle(
    steps: list[tuple[int, float]],
) -> None:
    pace, now, left = Pace(RATE), 100.0, []
    for size, dawdle in steps:
        now += dawdle + pace.delay(size, now)
        left.append((now, size))
    for index, (begin, _) in enumerate(left):
        for end, _ in left[index + 1 :]:
            between = sum(size for at, size in left if begin < at <= end)
            assert between <= RATE * (end - begin + 0.101)


def test_senders_that_share_a_pace_share_its_bytes() -> None:
    pace = Pace(RATE)
    assert [pace.delay(500_000, 0.0) for _ in range(4)] == [0.5, 1.0, 1.5, 2.0]


def test_one_that_wakes_up_late_catches_up() -> None:
    pace = Pace(RATE)
    pace.delay(100_000, 0.0)
    assert round(pace.delay(100_000, 0.15), 6) == 0.05
    assert round(pace.delay(100_000, 10.0), 6) == 0.0


def test_slices_are_short_and_even() -> None:
    for rate in (8_000.0, 123_457.0, 2_500_000.0, 1e10):
        size = Pace(rate).slice
        assert size % 2 == 0
        assert size <= max(4096, rate / 10)
        assert size <= 256 * 1024
    blocks = [b"a" * 10_000, b"b"]
    assert b"".join(Pace(1e6).through(blocks)) == b"".join(blocks)
