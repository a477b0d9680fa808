"""What only the S3 adapter can get wrong: checksums, codes, encryption, markers, rights."""

import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from contract.remotes import outgoing_of
from contract.remotes_s3 import S3Remote
from crossdock.config.targets import Target
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols import Outgoing, adapter_for
from crossdock.protocols.s3.body import PART_SIZE
from servers.relay import Reply, Request, relay
from servers.samples import write_instance
from servers.seaweedfs import READER
from studies import by_uid, make_ct
from waiting import until


LARGE = 3 * PART_SIZE + 1000


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[S3Remote]:
    with S3Remote(tmp_path) as remote:
        yield remote


def send(target: Target, outgoing: list[Outgoing]) -> list[InstanceOutcome]:
    with adapter_for(target) as adapter:
        outcomes = list(adapter.send(outgoing))
        adapter.finish(outgoing)
        return outcomes


def failure_of(target: Target, outgoing: list[Outgoing]) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        send(target, outgoing)
    return raised.value


def check(target: Target) -> CheckReport:
    with adapter_for(target) as adapter:
        return adapter.check()


def stage(report: CheckReport, name: str) -> str:
    (found,) = [each for each in report.stages if each.name == name]
    return f"{found.state}: {found.detail}; {found.advice}"


def large(tmp_path: Path) -> list[Outgoing]:
    path = tmp_path / "large.dcm"
    write_instance(path, LARGE)
    return outgoing_of([path])


def is_object(request: Request) -> bool:
    return request.method == "PUT" and ".dcm" in request.path


def test_keys_are_prefix_and_naming(remote: S3Remote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    naming = "{PatientName}/{SOPInstanceUID}.dcm"
    send(remote.target(prefix="in/김+ct/", naming=naming), outgoing)
    uid = outgoing[0].instance.sop_instance_uid
    folder = "in/김+ct/Zweistein_Phantomas"
    assert remote.listed() == [f"{folder}/.complete", f"{folder}/{uid}.dcm"]


def test_an_object_says_what_it_is_and_what_the_settings_say(
    remote: S3Remote, tmp_path: Path
) -> None:
    changes = {
        "encryption": "AES256",
        "storage_class": "STANDARD_IA",
        "tags": {"project": "heart+lung/2 = a@b", "kept until": "2040"},
        "metadata": {"origin": "crossdock"},
    }
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1)) + large(tmp_path)
    assert all(each.confirmed for each in send(remote.target(**changes), outgoing))
    client = remote.store.client()
    for key in [key for key in remote.listed() if key.endswith(".dcm")]:
        found = client.head_object(Bucket=remote.bucket, Key=key)
        assert found["ContentType"] == "application/dicom"
        assert found["ServerSideEncryption"] == "AES256"
        assert found["StorageClass"] == "STANDARD_IA"
        assert found["Metadata"] == {"origin": "crossdock"}
        tags = client.get_object_tagging(Bucket=remote.bucket, Key=key)["TagSet"]
        assert {each["Key"]: each["Value"] for each in tags} == changes["tags"]


def test_bytes_that_change_on_the_way_are_refused_and_not_there(
    remote: S3Remote, tmp_path: Path
) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 3))
    uid = outgoing[1].instance.sop_instance_uid
    target = remote.through(lambda request: "damage" if uid in request.path else None)
    outcomes = send(target, outgoing)
    assert [each.confirmed for each in outcomes] == [True, False, True]
    assert outcomes[1].status == "BadDigest"
    assert not [key for key in remote.listed() if uid in key]


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_store_that_does_not_look_is_found_out_by_its_etag(
    remote: S3Remote, tmp_path: Path, size: int
) -> None:
    def rule(request: Request) -> Reply | None:
        wrong = Reply(200, headers={"ETag": '"' + 32 * "0" + '"'}, body=b"")
        return wrong if is_object(request) else None

    path = tmp_path / "instance.dcm"
    write_instance(path, size)
    (outcome,) = send(remote.through(rule), outgoing_of([path]))
    assert (outcome.outcome, outcome.status) == (Outcome.REFUSED, "ETag")
    assert remote.uploads() == []


def test_a_server_that_says_yes_to_everything_is_no_store(remote: S3Remote, tmp_path: Path) -> None:
    page = Reply(200, body=b"<html>Welcome to the hospital's WLAN</html>")
    target = remote.through(lambda _request: page)
    error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "no S3 store" in error.detail
    report = check(target)
    assert not report.green
    assert "no S3 store" in "".join(each.detail for each in report.stages)


def test_a_store_that_ignores_encryption_is_not_used(remote: S3Remote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    etag = {"ETag": '"no MD5 here"'}
    ignoring = remote.through(
        lambda request: Reply(200, headers=etag, body=b"") if request.method == "PUT" else None,
        encryption="AES256",
    )
    error = failure_of(ignoring, outgoing)
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "does not encrypt" in error.detail
    assert "does not encrypt" in stage(check(ignoring), "authorise")


CODES = [
    (Reply(403, "InvalidAccessKeyId"), ErrorKind.UNAUTHORISED, "does not know this access key"),
    (Reply(403, "ExpiredToken"), ErrorKind.UNAUTHORISED, "expired"),
    (Reply(401, ""), ErrorKind.UNAUTHORISED, "denied (HTTP 401)"),
    (Reply(404, ""), ErrorKind.MISCONFIGURED, "no bucket"),
    (Reply(301, "PermanentRedirect"), ErrorKind.MISCONFIGURED, "another region"),
    (
        Reply(400, "AuthorizationHeaderMalformed", {"x-amz-bucket-region": "eu-north-1"}),
        ErrorKind.MISCONFIGURED,
        "region than us-east-1: eu-north-1",
    ),
    (Reply(400, "InvalidStorageClass"), ErrorKind.MISCONFIGURED, "storage class GLACIER"),
    (Reply(400, "KMS.NotFoundException"), ErrorKind.MISCONFIGURED, "encryption cannot be used"),
    (Reply(501, "NotImplemented"), ErrorKind.MISCONFIGURED, "does not offer"),
    (Reply(503, "SlowDown"), ErrorKind.BUSY, "busy (SlowDown)"),
    (Reply(429, "", body=b"too much"), ErrorKind.BUSY, "busy (HTTP 429)"),
    (Reply(403, "QuotaExceeded"), ErrorKind.BUSY, "no room"),
    (Reply(500, "InternalError"), ErrorKind.UNREACHABLE, "fault (InternalError)"),
    (Reply(502, "", body=b"<html>Bad Gateway"), ErrorKind.UNREACHABLE, "fault (HTTP 502)"),
    (Reply(400, "RequestTimeout"), ErrorKind.TIMEOUT, "waited too long"),
]


@pytest.mark.parametrize(("answer", "kind", "words"), CODES)
def test_what_a_store_answers_is_told_in_words(
    remote: S3Remote, tmp_path: Path, answer: Reply, kind: ErrorKind, words: str
) -> None:
    target = remote.through(
        lambda request: answer if request.method == "PUT" else None, storage_class="GLACIER"
    )
    error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 2)))
    assert (error.kind, error.temporary) == (kind, kind.value in ("busy", "unreachable", "timeout"))
    assert words in error.detail
    assert words in stage(check(target), "authorise")


@pytest.mark.parametrize(
    "code", ["EntityTooLarge", "KeyTooLongError", "InvalidArgument", "<script>", "9" * 99]
)
def test_what_is_about_one_object_keeps_no_other_back(
    remote: S3Remote, tmp_path: Path, code: str
) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 5))
    uid = outgoing[2].instance.sop_instance_uid
    target = remote.through(lambda request: Reply(400, code) if uid in request.path else None)
    outcomes = send(target, outgoing)
    assert [each.confirmed for each in outcomes] == [True, True, False, True, True]
    assert outcomes[2].status in (code, "HTTP 400")
    assert "<" not in outcomes[2].status


@pytest.mark.parametrize("status", [400, 403])
def test_a_store_that_answers_no_looks_can_be_used(
    remote: S3Remote, tmp_path: Path, status: int
) -> None:
    target = remote.through(lambda request: Reply(status) if request.method == "HEAD" else None)
    outcomes = send(target, outgoing_of(make_ct(tmp_path / "ct", 2)))
    assert all(each.confirmed for each in outcomes)
    assert check(target).green


def test_a_store_says_when_it_will_have_time(remote: S3Remote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    soon = remote.through(lambda _request: Reply(503, "SlowDown", {"Retry-After": "7"}))
    assert failure_of(soon, outgoing).retry_after == 7
    then = formatdate(time.time() + 600, usegmt=True)
    later = remote.through(lambda _request: Reply(503, "SlowDown", {"Retry-After": then}))
    assert 500 < (failure_of(later, outgoing).retry_after or 0) <= 600


def test_a_wrong_clock_is_told_with_its_difference(remote: S3Remote, tmp_path: Path) -> None:
    date = formatdate(time.time() + 7200, usegmt=True)
    target = remote.through(lambda _request: Reply(403, "RequestTimeTooSkewed", {"Date": date}))
    error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "this one is 120 minutes behind" in error.detail
    assert "120 minutes behind" in stage(check(target), "authenticate")


def test_what_others_confirm_is_told_before_a_failure(remote: S3Remote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 4))
    uid = outgoing[0].instance.sop_instance_uid
    target = remote.through(
        lambda request: Reply(503, "SlowDown") if uid in request.path else None, transfers=4
    )
    numbers = []
    with adapter_for(target) as adapter, pytest.raises(DeliveryError) as raised:
        numbers += [each.number for each in adapter.send(outgoing)]
    assert raised.value.kind is ErrorKind.BUSY
    known = by_uid([each.path for each in outgoing[1:]])
    assert remote.received().items() <= known.items()


def test_a_connection_that_was_closed_while_idle_is_no_failure(
    remote: S3Remote, tmp_path: Path
) -> None:
    cuts = iter(["cut"])
    target = remote.through(lambda request: next(cuts, None) if is_object(request) else None)
    outcomes = send(target, outgoing_of(make_ct(tmp_path / "ct", 3)))
    assert all(each.confirmed for each in outcomes)


def test_permission_is_asked_for_until_the_store_has_taken_something(
    remote: S3Remote, tmp_path: Path
) -> None:
    with relay(remote.store.url) as between:
        target = remote.target(endpoint=between.url, transfers=1, complete_marker=False)
        send(target, outgoing_of(make_ct(tmp_path / "ct", 4)))
    asked = ["Expect" in request.headers for request in between.requests]
    assert asked == [True, False, False, False]


def test_one_instance_takes_one_request(remote: S3Remote, tmp_path: Path) -> None:
    with relay(remote.store.url) as between:
        send(remote.target(endpoint=between.url), outgoing_of(make_ct(tmp_path / "ct", 10)))
    assert between.counted("PUT") == 11  # and the marker
    assert len(between.requests) == 12  # and a look for the marker of an earlier delivery


def test_the_marker_is_there_only_while_all_is(remote: S3Remote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 2))
    send(remote.target(), outgoing)
    (marker,) = [key for key in remote.listed() if key.endswith("/.complete")]
    with adapter_for(remote.target()) as adapter:
        assert all(each.confirmed for each in adapter.send(outgoing))
        assert marker not in remote.listed()
        adapter.finish(outgoing)
        assert marker in remote.listed()


def test_no_marker_where_none_is_wanted(remote: S3Remote, tmp_path: Path) -> None:
    send(remote.target(complete_marker=False), outgoing_of(make_ct(tmp_path / "ct", 2)))
    assert len(remote.listed()) == 2


def test_of_two_with_the_same_key_the_last_one_stays(remote: S3Remote, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.dcm" for number in range(12)]
    for number, path in enumerate(paths):
        write_instance(path, 1000 + 2 * number)
    outgoing = outgoing_of(paths)
    target = remote.target(naming="{SOPInstanceUID}", transfers=8, complete_marker=False)
    outcomes = send(target, outgoing)
    assert [each.number for each in outcomes] == list(range(1, 13))
    assert remote.listed() == [outgoing[0].instance.sop_instance_uid]
    assert remote.received() == by_uid(paths[-1:])


def test_a_key_that_is_too_long_keeps_no_other_back(remote: S3Remote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    naming = "/".join(["{StudyDescription}" + "x" * 200] * 5) + "/{SOPInstanceUID}"
    (outcome,) = send(remote.target(naming=naming, complete_marker=False), outgoing)
    assert (outcome.outcome, outcome.status) == (Outcome.REFUSED, "KeyTooLongError")


def test_who_may_only_read_is_told_so(remote: S3Remote, tmp_path: Path) -> None:
    target = remote.target(access_key=READER[0], secret_key=READER[1])
    report = check(target)
    assert stage(report, "bucket").startswith("ok")
    said = stage(report, "authorise")
    assert said.startswith("failed: bucket ")
    assert "can be reached, but writing there fails: access to bucket" in said
    assert "allow s3:PutObject" in said
    error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 2)))
    assert error.kind is ErrorKind.UNAUTHORISED
    assert "AccessDenied" in error.detail


def deny(remote: S3Remote, *actions: str) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": [f"s3:{action}" for action in actions],
        "Resource": [f"arn:aws:s3:::{remote.bucket}/*", f"arn:aws:s3:::{remote.bucket}"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    remote.store.client().put_bucket_policy(Bucket=remote.bucket, Policy=policy)


def test_who_may_only_write_can_be_used_and_the_check_says_what_stays(
    remote: S3Remote, tmp_path: Path
) -> None:
    deny(remote, "DeleteObject", "GetObject", "ListBucket")
    until(lambda: "refused" in stage(check(remote.target()), "authorise"))
    report = check(remote.target())
    assert report.green
    assert "reading it was refused" in stage(report, "authorise")
    assert ".crossdock-check-remote stays in the bucket" in stage(report, "authorise")
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 2))
    for _ in range(2):
        assert all(each.confirmed for each in send(remote.target(), outgoing))


def test_a_check_leaves_no_version_behind(remote: S3Remote) -> None:
    client = remote.store.client()
    enabled = {"Status": "Enabled"}
    client.put_bucket_versioning(Bucket=remote.bucket, VersioningConfiguration=enabled)
    assert check(remote.target()).green
    answer = client.list_object_versions(Bucket=remote.bucket)
    assert not answer.get("Versions")
    assert not answer.get("DeleteMarkers")
