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


class Even(Breaker):
    """A breaker whose dice show the middle, asked about deliveries that fail for the first time."""

    def tell(self, target: str, failure: Failure | None, now: float) -> float | None:
        return self.report(target, failure, now, 0.5, again=False)


@pytest.fixture
def breaker() -> Even:
    return Even(RetryPolicy())


def test_each_failure_after_a_pause_begins_a_longer_one_up_to_a_minute(breaker: Even) -> None:
    now, pauses = NOW, []
    for _ in range(7):
        seconds = breaker.tell("archive", DOWN, now)
        assert seconds is not None
        pauses.append(seconds)
        now += seconds
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_a_target_that_somebody_must_mend_is_asked_every_ten_minutes_in_the_end(
    breaker: Even,
) -> None:
    now, pauses = NOW, []
    for _ in range(6):
        seconds = breaker.tell("archive", WRONG, now)
        assert seconds is not None
        pauses.append(seconds)
        now += seconds
    assert pauses == [60, 120, 240, 480, 600, 600]


def test_a_pause_is_as_long_as_the_peer_asks_for(breaker: Even) -> None:
    busy = Failure(ErrorKind.BUSY, "slow down", temporary=True, retry_after=900.0)
    assert breaker.tell("archive", busy, NOW) == 900


def test_a_delivery_that_fails_again_where_another_has_just_worked_is_in_trouble_by_itself(
    breaker: Even,
) -> None:
    assert breaker.tell("archive", DOWN, NOW) == 5
    breaker.tell("archive", None, NOW + 6)
    assert breaker.report("archive", DOWN, NOW + 7, 0.5, again=True) is None
    assert breaker.paused(NOW + 7) == {}
    assert breaker.report("archive", DOWN, NOW + 8, 0.5, again=True) == 5, "none worked since"


def test_pauses_that_begin_together_end_apart() -> None:
    breaker = Breaker(RetryPolicy())
    assert breaker.report("a", DOWN, NOW, 0.0, again=False) == 4
    assert breaker.report("b", DOWN, NOW, 1.0, again=False) == 6


def test_a_pause_says_of_which_failure_it_is_and_ends_by_the_clock(breaker: Even) -> None:
    breaker.tell("archive", WRONG, NOW)
    pause = breaker.paused(NOW + 59.9)["archive"]
    assert (pause.kind, pause.reason) == (WRONG.kind, WRONG.detail)
    assert breaker.paused(NOW + 60.0) == {}


def test_failures_during_a_pause_are_not_counted(breaker: Even) -> None:
    assert breaker.tell("archive", DOWN, NOW) == 5
    assert breaker.tell("archive", DOWN, NOW + 4) == 1
    assert breaker.tell("archive", DOWN, NOW + 5) == 10


def test_a_success_begins_anew(breaker: Even) -> None:
    breaker.tell("archive", DOWN, NOW)
    assert breaker.tell("archive", None, NOW + 1) is None
    assert breaker.paused(NOW + 1) == {}
    assert breaker.tell("archive", DOWN, NOW + 2) == 5


def test_resuming_says_whether_there_was_anything_to_forget(breaker: Even) -> None:
    breaker.tell("archive", DOWN, NOW)
    assert breaker.failed() == ["archive"]
    assert breaker.resume("archive")
    assert not breaker.resume("archive")
    assert breaker.paused(NOW) == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 100)), max_size=40))
def test_one_target_is_never_paused_because_of_another(
    events: list[tuple[str, bool, float]],
) -> None:
    together, alone, now = Even(RetryPolicy()), Even(RetryPolicy()), NOW
    for target, well, seconds in events:
        now += seconds
        failure = None if well else DOWN
        together.tell(target, failure, now)
        if target == "a":
            alone.tell(target, failure, now)
        assert together.paused(now).get("a") == alone.paused(now).get("a")
