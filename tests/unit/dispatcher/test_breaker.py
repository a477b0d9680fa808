"""Which targets are left alone, and until when, as time goes by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ErrorKind
from dispatcher.breaker import Breaker
from dispatcher.retry import Failure, RetryPolicy


NOW = 1000.0
DOWN = Failure(ErrorKind.UNREACHABLE, "connection refused", temporary=True)
WRONG = Failure(ErrorKind.UNAUTHORISED, "calling AE title not recognised")


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(RetryPolicy())


def test_each_failure_after_a_pause_begins_a_longer_one_up_to_a_minute(breaker: Breaker) -> None:
    now, pauses = NOW, []
    for _ in range(7):
        seconds = breaker.report("archive", DOWN, now)
        assert seconds is not None
        pauses.append(seconds)
        now += seconds
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_a_pause_says_of_which_failure_it_is_and_ends_by_the_clock(breaker: Breaker) -> None:
    breaker.report("archive", WRONG, NOW)
    pause = breaker.paused(NOW + 59.9)["archive"]
    assert (pause.kind, pause.reason) == (WRONG.kind, WRONG.detail)
    assert breaker.paused(NOW + 60.0) == {}


def test_failures_during_a_pause_are_not_counted(breaker: Breaker) -> None:
    assert breaker.report("archive", DOWN, NOW) == 5
    assert breaker.report("archive", DOWN, NOW + 4.9) is None
    assert breaker.report("archive", DOWN, NOW + 5) == 10


def test_a_success_begins_anew(breaker: Breaker) -> None:
    breaker.report("archive", DOWN, NOW)
    assert breaker.report("archive", None, NOW + 1) is None
    assert breaker.paused(NOW + 1) == {}
    assert breaker.report("archive", DOWN, NOW + 2) == 5


def test_resuming_says_whether_there_was_anything_to_forget(breaker: Breaker) -> None:
    breaker.report("archive", DOWN, NOW)
    assert breaker.failed() == ["archive"]
    assert breaker.resume("archive")
    assert not breaker.resume("archive")
    assert breaker.paused(NOW) == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 100)), max_size=40))
def test_one_target_is_never_paused_because_of_another(
    events: list[tuple[str, bool, float]],
) -> None:
    together, alone, now = Breaker(RetryPolicy()), Breaker(RetryPolicy()), NOW
    for target, well, seconds in events:
        now += seconds
        failure = None if well else DOWN
        together.report(target, failure, now)
        if target == "a":
            alone.report(target, failure, now)
        assert together.paused(now).get("a") == alone.paused(now).get("a")
