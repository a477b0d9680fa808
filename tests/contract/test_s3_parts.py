"""Large instances, which go to an S3 store in parts: all of it arrives, or nothing stays."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.remotes import outgoing_of
from contract.remotes_s3 import S3Remote
from contract.test_s3_adapter import failure_of, large, send
from crossdock.errors import ErrorKind
from crossdock.model import Outcome
from crossdock.protocols import adapter_for
from crossdock.protocols.s3.body import PART_SIZE, part_size
from servers.relay import Reply, Request
from servers.samples import write_instance
from studies import by_uid, make_ct
from waiting import until


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[S3Remote]:
    with S3Remote(tmp_path) as remote:
        yield remote


def test_a_large_instance_goes_in_parts_and_arrives_whole(remote: S3Remote, tmp_path: Path) -> None:
    outgoing = large(tmp_path)
    (outcome,) = send(remote.target(), outgoing)
    assert outcome.outcome is Outcome.DELIVERED
    assert remote.received() == by_uid([outgoing[0].path])
    assert remote.uploads() == []


def test_a_part_that_the_store_has_no_time_for_is_sent_again(
    remote: S3Remote, tmp_path: Path
) -> None:
    refused = iter([Reply(503, "SlowDown"), Reply(500, "InternalError"), "cut"])

    def rule(request: Request) -> Reply | str | None:
        return next(refused, None) if "partNumber=2" in request.path else None

    outgoing = large(tmp_path)
    (outcome,) = send(remote.through(rule), outgoing)
    assert outcome.confirmed
    assert remote.received() == by_uid([outgoing[0].path])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("cut", ErrorKind.UNREACHABLE),
        (Reply(503, "SlowDown"), ErrorKind.BUSY),
        (Reply(403, "AccessDenied"), ErrorKind.UNAUTHORISED),
    ],
)
def test_an_upload_in_parts_that_fails_leaves_nothing(
    remote: S3Remote, tmp_path: Path, answer: Reply | str, kind: ErrorKind
) -> None:
    target = remote.through(lambda request: answer if "partNumber=2" in request.path else None)
    assert failure_of(target, large(tmp_path)).kind is kind
    assert remote.listed() == []
    assert remote.uploads() == []


def test_what_a_killed_try_left_is_ended_by_the_next(remote: S3Remote, tmp_path: Path) -> None:
    outgoing = large(tmp_path)
    target = remote.target(naming="{SOPInstanceUID}")
    key = outgoing[0].instance.sop_instance_uid
    for name in (key, f"{key}.other"):
        remote.store.client().create_multipart_upload(Bucket=remote.bucket, Key=name)
    send(target, outgoing)
    assert remote.uploads() == [f"{key}.other"]


def test_stopping_is_quick_where_an_upload_hangs(remote: S3Remote, tmp_path: Path) -> None:
    part_came = threading.Event()

    def rule(request: Request) -> str | None:
        if "partNumber=2" in request.path:
            part_came.set()
            return "hang"
        return None

    (small,) = outgoing_of(make_ct(tmp_path / "ct", 1))
    (second,) = large(tmp_path)
    large_uid = second.instance.sop_instance_uid
    with adapter_for(remote.through(rule, transfers=2)) as adapter:
        outcomes = adapter.send([small, second])
        assert next(outcomes).confirmed
        until(part_came.is_set)
        began = time.monotonic()
        outcomes.close()  # type: ignore[attr-defined]  # send is a generator
        assert time.monotonic() - began < 30
    assert not [key for key in remote.listed() if large_uid in key]


def test_stopping_ends_an_upload_that_goes_on(remote: S3Remote, tmp_path: Path) -> None:
    part_came = threading.Event()

    def rule(request: Request) -> None:
        if "partNumber=1" in request.path:
            part_came.set()

    path = tmp_path / "large.dcm"
    write_instance(path, 20 * PART_SIZE)
    (small,) = outgoing_of(make_ct(tmp_path / "ct", 1))
    with adapter_for(remote.through(rule, transfers=2)) as adapter:
        outcomes = adapter.send([small, *outgoing_of([path])])
        assert next(outcomes).confirmed
        until(part_came.is_set)
        outcomes.close()  # type: ignore[attr-defined]  # send is a generator
    until(lambda: remote.uploads() == [])
    assert len(remote.listed()) == 1


def test_parts_grow_where_ten_thousand_would_not_do() -> None:
    assert part_size(1) == part_size(10_000 * PART_SIZE) == PART_SIZE
    huge = 5 * 10**12
    assert 10_000 * part_size(huge) >= huge
