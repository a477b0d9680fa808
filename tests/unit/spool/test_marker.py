"""A marker adds up to what was noted, whatever a crash or a bad disk does to its end."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock.errors import SpoolError
from crossdock.model import InstanceOutcome, Outcome
from crossdock.spool import Claim, DeliveryRecord, Routed
from crossdock.spool.marker import first_line, in_work, read_record


ROUTED = Routed(target="archive", protocol="dicom", rules=("all",), revision=3, at=1.5)

many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

outcomes = st.builds(
    InstanceOutcome,
    number=st.integers(1, 9),
    sop_instance_uid=st.just("1.2.3"),
    outcome=st.sampled_from(Outcome),
    status=st.sampled_from(["", "0000", "A900"]),
    detail=st.text(max_size=20),
)
entries = st.one_of(
    outcomes.map(lambda outcome: {"outcome": outcome.model_dump(mode="json")}),
    st.floats(0, 9e9).map(lambda at: {"try": at}),
    st.builds(
        lambda counts, when, reason: {
            "failed": {"kind": "busy", "reason": reason, "next_try": when, "counts": counts}
        },
        st.booleans(),
        st.floats(0, 9e9),
        st.text(max_size=20),
    ),
    st.just({"retry": True}),
    st.just({"something": "new"}),
)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(first_line(ROUTED))
    return path


def take(path: Path) -> Claim:
    claim = Claim.take(path)
    assert claim is not None
    return claim


def expected(noted: list[dict[str, object]]) -> DeliveryRecord:
    record = DeliveryRecord(ROUTED)
    for entry in noted:
        record.apply(entry)
    return record


@many
@given(noted=st.lists(entries, max_size=12))
def test_what_is_noted_is_read_again(marker: Path, noted: list[dict[str, object]]) -> None:
    marker.write_bytes(first_line(ROUTED))
    claim = take(marker)
    for entry in noted:
        claim.note(**entry)
    assert claim.record == expected(noted)
    claim.release()
    assert read_record(marker) == expected(noted)


@many
@given(noted=st.lists(entries, min_size=1, max_size=6), more=entries, data=st.data())
def test_a_line_that_a_crash_cut_off_costs_that_line_and_no_other(
    marker: Path, noted: list[dict[str, object]], more: dict[str, object], data: st.DataObject
) -> None:
    marker.write_bytes(first_line(ROUTED))
    claim = take(marker)
    for entry in noted[:-1]:
        claim.note(**entry)
    before = marker.stat().st_size
    claim.note(**noted[-1])
    claim.release()
    os.truncate(marker, data.draw(st.integers(before, marker.stat().st_size - 1)))
    assert read_record(marker) == expected(noted[:-1])
    claim = take(marker)
    claim.note(**more)
    claim.release()
    assert read_record(marker) == expected([*noted[:-1], more])


@many
@given(st.binary(max_size=200))
def test_anything_after_the_first_line_is_survived(marker: Path, rubbish: bytes) -> None:
    marker.write_bytes(first_line(ROUTED) + rubbish)
    assert read_record(marker).routed == ROUTED


@pytest.mark.parametrize("line", ['{"outcome": {}}', '{"outcome": 7}', '{"failed": []}', "[]"])
def test_a_line_of_another_shape_is_skipped(marker: Path, line: str) -> None:
    with marker.open("a") as file:
        file.write(f'{line}\n{{"try": 1}}\n')
    assert read_record(marker).tries == 1


@pytest.mark.parametrize("content", [b"", b"\n\n", b"rubbish\n", b'{"routed": {"target": 1}}\n'])
def test_a_damaged_first_line_is_said_so(marker: Path, content: bytes) -> None:
    marker.write_bytes(content)
    with pytest.raises(SpoolError, match="damaged"):
        read_record(marker)
    for _ in range(3):
        with pytest.raises(SpoolError):
            Claim.take(marker)


def test_one_claim_at_a_time_and_none_of_what_is_gone(marker: Path) -> None:
    claim = take(marker)
    assert Claim.take(marker) is None
    assert in_work(marker)
    claim.release()
    claim.release()
    assert not in_work(marker)
    second = take(marker)
    marker.unlink()
    assert Claim.take(marker) is None
    assert in_work(marker)
    second.release()


def test_a_claim_ends_with_its_process(marker: Path) -> None:
    program = (
        "import sys, pathlib; from crossdock.spool import Claim;"
        "claim = Claim.take(pathlib.Path(sys.argv[1])); claim.note(**{'try': 1});"
        "print('claimed', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(marker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"claimed\n"
        assert Claim.take(marker) is None
        process.kill()
    claim = take(marker)
    assert claim.record.tries == 1
    claim.release()


def test_a_note_that_does_not_fit_is_an_error_and_harms_no_later_one(marker: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    claim = take(marker)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (marker.stat().st_size + 10, before[1]))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            claim.note(**{"try": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert claim.record.tries == 0
    claim.note(**{"try": 2})
    claim.release()
    assert read_record(marker).tries == 1


def test_a_person_who_asks_for_a_retry_gives_all_attempts_back() -> None:
    failure = {"kind": "refused", "reason": "A900", "next_try": 99.0, "counts": True}
    record = expected([{"try": 1}, {"failed": failure}, {"retry": True}])
    assert (record.tries, record.attempts, record.next_try) == (1, 0, 0.0)


def test_a_failure_that_counts_ends_a_row_of_setbacks() -> None:
    setback = {"kind": "busy", "reason": "A700", "next_try": 9.0, "counts": False}
    record = expected([{"failed": setback}, {"failed": setback}])
    assert (record.setbacks, record.attempts, record.next_try) == (2, 0, 9.0)
    record.apply({"failed": {**setback, "counts": True}})
    assert (record.setbacks, record.attempts) == (0, 1)
