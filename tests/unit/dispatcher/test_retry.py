"""When a delivery is tried again, as a table."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.errors import ErrorKind
from crossdock.spool import DeliveryRecord, Routed
from dispatcher.retry import (
    AWAY,
    COUNTED,
    ERROR_CLASSES,
    TO_MEND,
    Failure,
    Hold,
    RetryAt,
    RetryPolicy,
    WithTarget,
    decide,
    spent,
)


NOW = 1_000_000.0
POLICY = RetryPolicy()
DOWN = Failure(ErrorKind.UNREACHABLE, "connection refused", temporary=True)
WRONG = Failure(ErrorKind.UNAUTHORISED, "calling AE title not recognised")
REFUSED = Failure(ErrorKind.REFUSED, "3 of 200 instances were refused, the first with: A900")


def record(*, attempts: int = 0, setbacks: int = 0) -> DeliveryRecord:
    routed = Routed(target="archive", protocol="dicom", rules=("all",), revision=1, at=NOW)
    return DeliveryRecord(routed, attempts=attempts, setbacks=setbacks)


@pytest.mark.parametrize(
    ("failure", "setbacks", "delay"),
    [
        (DOWN, 0, 5),
        (DOWN, 1, 10),
        (DOWN, 2, 20),
        (DOWN, 6, 320),
        (DOWN, 7, 600),
        (DOWN, 100_000, 600),
        (Failure(ErrorKind.TIMEOUT, "no response", temporary=True), 0, 5),
        (Failure(ErrorKind.BUSY, "A700", temporary=True), 0, 5),
        (Failure(ErrorKind.REFUSED, "for now", temporary=True), 0, 5),
        (WRONG, 0, 60),
        (WRONG, 1, 120),
        (WRONG, 50, 600),
        (Failure(ErrorKind.MISCONFIGURED, "called AE title not recognised"), 0, 60),
    ],
)
def test_a_delivery_that_a_well_target_cannot_take_is_retried_for_ever_and_does_not_count(
    failure: Failure, setbacks: int, delay: float
) -> None:
    decision = decide(
        record(setbacks=setbacks, attempts=4), failure, POLICY, pause=None, now=NOW, chance=0.5
    )
    assert decision == RetryAt(NOW + delay, counts=False)


@pytest.mark.parametrize("failure", [DOWN, WRONG])
def test_a_delivery_whose_target_is_left_alone_waits_for_it(failure: Failure) -> None:
    decision = decide(
        record(setbacks=7, attempts=4), failure, POLICY, pause=40.0, now=NOW, chance=0.5
    )
    assert decision == WithTarget(NOW + 40)


@pytest.mark.parametrize(("attempts", "delay"), [(0, 30), (1, 120), (2, 600), (3, 1800)])
@pytest.mark.parametrize("kind", [ErrorKind.REFUSED, ErrorKind.UNEXPECTED])
def test_a_failure_of_the_delivery_counts(kind: ErrorKind, attempts: int, delay: float) -> None:
    decision = decide(
        record(attempts=attempts), Failure(kind, "no"), POLICY, pause=5.0, now=NOW, chance=0.5
    )
    assert decision == RetryAt(NOW + delay, counts=True)


def test_the_fifth_attempt_that_counts_holds_the_delivery_and_says_why() -> None:
    decision = decide(record(attempts=4), REFUSED, POLICY, pause=None, now=NOW, chance=0.5)
    assert isinstance(decision, Hold)
    for words in ("5 attempts", "3 of 200", "A900", "retry", "discard"):
        assert words in decision.reason


@pytest.mark.parametrize(
    ("asked", "delay"), [(1.0, 5.0), (120.0, 120.0), (1e9, 3600.0), (0.0, 5.0), (None, 5.0)]
)
def test_what_the_peer_asks_for_is_honoured_within_reason(
    asked: float | None, delay: float
) -> None:
    failure = Failure(ErrorKind.BUSY, "slow down", temporary=True, retry_after=asked)
    assert decide(record(), failure, POLICY, pause=None, now=NOW, chance=0.5) == RetryAt(
        NOW + delay, counts=False
    )


@given(
    st.floats(0, 1),
    st.integers(0, 10_000),
    st.integers(0, 20),
    st.sampled_from(ErrorKind),
    st.booleans(),
)
def test_a_retry_is_always_later_and_within_the_limits(
    chance: float, setbacks: int, attempts: int, kind: ErrorKind, temporary: bool
) -> None:
    failure = Failure(kind, "why", temporary)
    known = record(attempts=attempts, setbacks=setbacks)
    decision = decide(known, failure, POLICY, pause=None, now=NOW, chance=chance)
    if isinstance(decision, Hold):
        assert failure.counts
        assert attempts >= 4
    else:
        assert isinstance(decision, RetryAt)
        assert 4 <= decision.when - NOW <= 1.2 * 1800
        assert decision.counts is failure.counts


def test_deliveries_that_failed_together_are_spread() -> None:
    early, late = (
        decide(record(), DOWN, POLICY, pause=None, now=NOW, chance=chance) for chance in (0.0, 1.0)
    )
    assert early == RetryAt(NOW + 4, counts=False)
    assert late == RetryAt(NOW + 6, counts=False)


def test_tests_may_be_in_a_hurry() -> None:
    policy = RetryPolicy.from_environment({"CROSSDOCK_RETRY_SCALE": "0.01"})
    assert policy.first == pytest.approx(0.05)
    assert policy.refused == pytest.approx((0.3, 1.2, 6.0, 18.0))
    assert RetryPolicy.from_environment({}) == RetryPolicy()


@pytest.mark.parametrize("text", ["fast", "-1", "0", "nan", "inf"])
def test_a_scale_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="CROSSDOCK_RETRY_SCALE"):
        RetryPolicy.from_environment({"CROSSDOCK_RETRY_SCALE": text})


README = Path(__file__).parents[3] / "services/dispatcher/README.md"


def words(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def test_every_kind_of_error_has_a_class_and_the_readme_says_the_same() -> None:
    rows = [
        f"| {kind.value} | {temporary.name} | {lasting.name} |"
        for kind, (temporary, lasting) in ERROR_CLASSES.items()
    ]
    assert set(ERROR_CLASSES) == set(ErrorKind)
    assert "\n".join(rows) in README.read_text()


def test_the_readme_says_what_each_class_means() -> None:
    asked = f"longer if the peer asks, up to {words(POLICY.longest_asked)} | no, for ever"
    alone = "its target is left alone for"
    count = len(POLICY.refused) + 1
    tries = {
        AWAY: f"{alone} {words(POLICY.first)}, doubling to {words(POLICY.pause)}; {asked}",
        TO_MEND: f"{alone} {words(POLICY.first_mend)}, doubling to {words(POLICY.longest)}; {asked}",
        COUNTED: f"{', '.join(map(words, POLICY.refused))}; then held | yes, {count} in all",
    }
    for each, tried in tries.items():
        row = f"| {each.name} | the {each.of} | {tried} | {each.advice} |"
        assert row in README.read_text()


def test_no_temporary_failure_counts_against_a_delivery() -> None:
    assert {temporary for temporary, _ in ERROR_CLASSES.values()} == {AWAY}


def test_a_delivery_that_has_had_its_attempts_is_held_for_the_reason_of_the_last() -> None:
    last = record(attempts=4)
    assert spent(last, POLICY) is None
    hold = decide(last, REFUSED, POLICY, pause=None, now=NOW, chance=0.5)
    assert isinstance(hold, Hold)
    last.apply({"failed": {"kind": "refused", "reason": REFUSED.detail, "counts": True}})
    assert spent(last, POLICY) == hold
    last.apply({"reason": hold.reason})
    assert spent(last, POLICY) == hold
