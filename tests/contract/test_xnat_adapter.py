"""What only XNAT can get wrong: sessions, labels, places, zips, and answers that mean otherwise."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from contract.remotes import outgoing_of
from contract.remotes_xnat import IMPORT, XnatRemote
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols import Outgoing, adapter_for
from crossdock.protocols.payload import Payload
from servers.relay import Reply, Request
from servers.xnat_state import ALIAS, PROJECT, READER, USER
from studies import by_uid, make_ct


REFUSED, DELIVERED = Outcome.REFUSED, Outcome.DELIVERED
ARCHIVE = {"destination": "archive"}
ZIP = {"import_handler": "DICOM-zip"}


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[XnatRemote]:
    with XnatRemote(tmp_path / "remote") as remote:
        yield remote


@pytest.fixture(autouse=True)
def _place(tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir(exist_ok=True)


def changed(path: Path, **values: str) -> Path:
    ds = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path)
    return path


def delivered(target: object, outgoing: list[Outgoing]) -> list[InstanceOutcome]:
    with adapter_for(target) as adapter:  # type: ignore[arg-type]  # a target
        outcomes = list(adapter.send(outgoing))
        if all(outcome.confirmed for outcome in outcomes):
            adapter.finish(outgoing)
    return outcomes


def failure(target: object, outgoing: list[Outgoing]) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        delivered(target, outgoing)
    return raised.value


def test_two_studies_of_one_patient_on_one_day_stay_apart(peer: XnatRemote, tmp_path: Path) -> None:
    paths = [*make_ct(tmp_path / "a", 2), *make_ct(tmp_path / "b", 2)]
    for path in paths:
        changed(path, PatientID="12-3", StudyDate="20240105")
    delivered(peer.target(), outgoing_of(paths))
    sessions = peer.server.prearchive
    assert [len(session.files) for session in sessions] == [2, 2]
    assert {session.subject for session in sessions} == {"12-3"}
    assert all(session.folder.startswith("12-3_20240105_") for session in sessions)


def test_patients_whose_ids_look_alike_without_odd_characters_share_no_subject(
    peer: XnatRemote, tmp_path: Path
) -> None:
    ids = ["A.1", "A/1", "A_1", "A 1", "김희중", "希", ""]
    utf8 = {"SpecificCharacterSet": "ISO_IR 192"}
    made = [make_ct(tmp_path / str(number), 1)[0] for number in range(len(ids))]
    paths = [changed(path, PatientID=one, **utf8) for path, one in zip(made, ids, strict=True)]
    delivered(peer.target(), outgoing_of(paths))
    subjects = [session.subject for session in peer.server.prearchive]
    assert len(set(subjects)) == len(ids)
    assert all(set(subject) <= set(LABEL) for subject in subjects)


LABEL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"


def test_a_complete_delivery_is_built_and_stays_in_the_prearchive(
    peer: XnatRemote, tmp_path: Path
) -> None:
    delivered(peer.target(), outgoing_of(make_ct(tmp_path / "ct", 2)))
    (session,) = peer.server.prearchive
    assert session.status == "READY"
    assert peer.server.archive == {}


def test_without_commit_xnat_is_left_to_notice_the_end(peer: XnatRemote, tmp_path: Path) -> None:
    delivered(peer.target(commit=False, **ARCHIVE), outgoing_of(make_ct(tmp_path / "ct", 2)))
    (session,) = peer.server.prearchive
    assert session.status == "RECEIVING"
    assert session.auto_archive


def test_series_after_series_joins_the_archived_session(peer: XnatRemote, tmp_path: Path) -> None:
    study = generate_uid()
    first, second = (make_ct(tmp_path / name, 3, study=study) for name in "ab")
    for paths in (first, second, first):
        outgoing = outgoing_of(paths)
        with adapter_for(peer.target(**ARCHIVE)) as adapter:
            assert all(each.confirmed for each in adapter.send(outgoing))
            adapter.finish(outgoing)
            adapter.finish(outgoing)
    assert peer.server.prearchive == []
    assert len(peer.server.archive) == 1
    assert peer.received() == by_uid([*first, *second])


def test_overwrite_none_leaves_the_conflict_to_a_person(peer: XnatRemote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    target = peer.target(overwrite="none", **ARCHIVE)
    delivered(target, outgoing)
    for _ in range(2):
        error = failure(target, outgoing)
        assert error.kind is ErrorKind.REFUSED
        assert not error.temporary


def test_a_session_that_xnat_is_at_work_on_is_busy(peer: XnatRemote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    delivered(peer.target(commit=False), outgoing)
    (session,) = peer.server.prearchive
    peer.server.busy.add(session.folder)
    with adapter_for(peer.target(**ARCHIVE)) as adapter:
        for status in ("RECEIVING", "READY", "ARCHIVING"):
            session.status = status
            with pytest.raises(DeliveryError) as raised:
                adapter.finish(outgoing)
            assert raised.value.kind is ErrorKind.BUSY
            assert raised.value.temporary
        peer.server.busy.clear()
        session.status = "READY"
        adapter.finish(outgoing)
    assert len(peer.server.archive) == 1


def test_what_comes_while_a_session_is_archived_is_added_to_it(
    peer: XnatRemote, tmp_path: Path
) -> None:
    study = generate_uid()
    first, second = (make_ct(tmp_path / name, 2, study=study) for name in "ab")
    delivered(peer.target(), outgoing_of(first))
    (session,) = peer.server.prearchive
    session.status = "ARCHIVING"
    outgoing = outgoing_of(second)
    with adapter_for(peer.target(**ARCHIVE)) as adapter:
        assert all(each.confirmed for each in adapter.send(outgoing))
        assert len(peer.server.prearchive) == 2
        with pytest.raises(DeliveryError) as raised:
            adapter.finish(outgoing)
        assert raised.value.kind is ErrorKind.BUSY
        session.status = "READY"
        adapter.finish(outgoing)
    assert peer.server.prearchive == []
    assert peer.received() == by_uid([*first, *second])


def test_a_session_that_vanished_is_not_called_archived(peer: XnatRemote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    delivered(peer.target(commit=False), outgoing)
    peer.server.prearchive.clear()
    with adapter_for(peer.target(**ARCHIVE)) as adapter, pytest.raises(DeliveryError) as raised:
        adapter.finish(outgoing)
    assert raised.value.kind is ErrorKind.UNEXPECTED


@pytest.mark.parametrize("how", ["401", "login_pages", "guests"])
def test_a_session_that_expired_is_renewed(peer: XnatRemote, tmp_path: Path, how: str) -> None:
    setattr(peer.server, how, True)
    paths = make_ct(tmp_path / "ct", 12)
    confirmed = []
    with adapter_for(peer.target()) as adapter:
        for outcome in adapter.send(outgoing_of(paths)):
            confirmed.append(outcome)
            if outcome.number in (1, 5):
                peer.server.expire()
    assert [each.outcome for each in confirmed] == [DELIVERED] * 12
    assert peer.received() == by_uid(paths)
    logins = [method for method, path, _ in peer.server.requests if path == "/data/JSESSION"]
    assert 2 <= logins.count("POST") <= 3


def test_one_session_serves_all_and_is_closed(peer: XnatRemote, tmp_path: Path) -> None:
    with adapter_for(peer.target()) as adapter:
        for name in "ab":
            outgoing = outgoing_of(make_ct(tmp_path / name, 10))
            assert all(each.confirmed for each in adapter.send(outgoing))
            adapter.finish(outgoing)
        assert len(peer.server.sessions) == 1
    assert peer.server.sessions == {}


def test_an_account_that_is_closed_meanwhile_is_unauthorised(
    peer: XnatRemote, tmp_path: Path
) -> None:
    with adapter_for(peer.target()) as adapter:
        assert all(each.confirmed for each in adapter.send(outgoing_of(make_ct(tmp_path, 2))))
        peer.server.accounts.clear()
        peer.server.expire()
        with pytest.raises(DeliveryError) as raised:
            list(adapter.send(outgoing_of(make_ct(tmp_path, 2))))
    assert raised.value.kind is ErrorKind.UNAUTHORISED


def test_an_alias_token_is_as_good_as_an_account(peer: XnatRemote, tmp_path: Path) -> None:
    target = peer.target(user=ALIAS[0], password=ALIAS[1])
    assert delivered(target, outgoing_of(make_ct(tmp_path / "ct", 1)))[0].confirmed


def test_an_unknown_project_is_found_out_before_anything_is_sent(
    peer: XnatRemote, tmp_path: Path
) -> None:
    error = failure(peer.target(project="LIVER"), outgoing_of(make_ct(tmp_path / "ct", 3)))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "LIVER" in error.detail
    assert peer.server.imports() == []


@pytest.mark.parametrize("handler", ["gradual-DICOM", "DICOM-zip"])
def test_what_lands_in_unassigned_is_not_delivered(
    peer: XnatRemote, tmp_path: Path, handler: str
) -> None:
    target = peer.target(user=READER[0], password=READER[1], import_handler=handler)
    error = failure(target, outgoing_of(make_ct(tmp_path / "ct", 5)))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert not error.temporary
    assert "Unassigned of the prearchive, received 20" in error.detail
    assert PROJECT in error.detail
    assert len(peer.server.unassigned()) == 1, "the first one goes alone"


def test_a_project_may_be_called_by_its_alias(peer: XnatRemote, tmp_path: Path) -> None:
    target = peer.target(project="Heart-Study")
    assert delivered(target, outgoing_of(make_ct(tmp_path / "ct", 3)))[-1].confirmed


def test_with_a_template_only_instances_of_unknown_projects_are_refused(
    peer: XnatRemote, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 3)
    for path, description in zip(paths, (PROJECT, "Zweistein Secret", PROJECT), strict=True):
        changed(path, StudyDescription=description)
    target = peer.target(project="{StudyDescription}")
    with adapter_for(target) as adapter:
        assert "depends on each instance" in adapter.check().stages[-2].detail
        outcomes = list(adapter.send(outgoing_of(paths)))
    assert [each.outcome for each in outcomes] == [DELIVERED, REFUSED, DELIVERED]
    assert "Zweistein" not in outcomes[1].detail


@pytest.mark.parametrize("settings", [{}, ZIP])
def test_with_a_template_too_only_one_instance_goes_astray(
    peer: XnatRemote, tmp_path: Path, settings: dict[str, str]
) -> None:
    account = {"user": READER[0], "password": READER[1]}
    paths = make_ct(tmp_path / "ct", 5, description=PROJECT)
    target = peer.target(project="{StudyDescription}", **account, **settings)
    outcomes = delivered(target, outgoing_of(paths))
    assert [each.outcome for each in outcomes] == [REFUSED] * 5
    assert len(peer.server.unassigned()) == 1


def test_an_empty_answer_means_that_it_was_left_out(peer: XnatRemote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 2))
    peer.server.filter = lambda _ds: False
    for settings in ({}, ZIP):
        outcomes = delivered(peer.target(**settings), outgoing)
        assert [each.outcome for each in outcomes] == [REFUSED, REFUSED]
        assert "filter" in outcomes[0].detail
        assert "200" in outcomes[0].status
    assert peer.files() == []


def test_a_zip_brings_all_with_few_requests(peer: XnatRemote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 25)
    outgoing = outgoing_of(paths)
    outcomes = delivered(peer.target(batch_instances=10, **ZIP), outgoing)
    assert [each.number for each in outcomes] == list(range(1, 26))
    assert peer.received() == by_uid(paths)
    handlers = [each["import-handler"] for each in peer.server.imports()]
    assert handlers == ["gradual-DICOM", *["DICOM-zip"] * 3]


def test_the_bad_file_of_a_zip_is_named_and_the_others_arrive(
    peer: XnatRemote, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 6)
    outgoing = outgoing_of(paths)
    ds = pydicom.dcmread(paths[3])
    del ds.SOPClassUID
    ds.save_as(paths[3], enforce_file_format=False)
    paths[4].write_bytes(b"no DICOM at all")
    outcomes = delivered(peer.target(**ZIP), outgoing)
    expected = [DELIVERED] * 6
    expected[3:5] = [REFUSED, Outcome.NOT_SENT]
    assert [each.outcome for each in outcomes] == expected
    assert "400" in outcomes[3].status
    assert peer.received() == by_uid([*paths[:3], paths[5]])


def test_zips_hold_one_session_each_and_no_more_bytes_than_they_may(
    peer: XnatRemote, tmp_path: Path
) -> None:
    a, b = make_ct(tmp_path / "a", 5, size=20_000), make_ct(tmp_path / "b", 3, size=20_000)
    paths = [a[0], b[0], *a[1:], *b[1:]]
    target = peer.target(batch_bytes=50_000, **ZIP)
    outcomes = delivered(target, outgoing_of(paths))
    assert [each.number for each in outcomes] == list(range(1, 9))
    assert sorted(len(each.files) for each in peer.server.prearchive) == [3, 5]
    assert len(peer.server.imports()) == 5


@pytest.mark.parametrize("settings", [{}, ZIP])
def test_one_instance_twice_goes_one_after_the_other(
    peer: XnatRemote, tmp_path: Path, settings: dict[str, str]
) -> None:
    paths = make_ct(tmp_path / "ct", 4)
    twice = outgoing_of([*paths, *paths[::-1], *paths])
    assert [each.outcome for each in delivered(peer.target(**settings), twice)] == [DELIVERED] * 12
    assert peer.received() == by_uid(paths)


def test_several_requests_are_under_way_in_one_session(peer: XnatRemote, tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def rule(request: Request) -> None:
        if request.path.startswith(IMPORT) and "first" not in seen:
            seen.append("first")
        elif request.path.startswith(IMPORT):
            together.wait(60)

    seen: list[str] = []
    outcomes = delivered(peer.through(rule, transfers=3), outgoing_of(make_ct(tmp_path / "ct", 7)))
    assert [each.outcome for each in outcomes] == [DELIVERED] * 7


def test_who_stops_need_not_wait_for_requests_that_hang(peer: XnatRemote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 9)
    for path in paths[:2]:
        changed(path, StudyDescription="longer than those that hang")
    hanging = threading.Event()

    def rule(request: Request) -> str | None:
        if request.path.startswith(IMPORT) and int(request.headers["Content-Length"]) == usual:
            hanging.set()
            return "hang"
        return None

    outgoing = outgoing_of(paths)
    with Payload(outgoing[-1]) as payload:
        usual = payload.size
    with adapter_for(peer.through(rule, timeout=50)) as adapter:
        sending = adapter.send(outgoing)
        assert [next(sending).number, next(sending).number] == [1, 2]
        assert hanging.wait(60)
        began = time.monotonic()
        sending.close()  # type: ignore[attr-defined]  # it is a generator
    assert time.monotonic() - began < 15


ANSWERS = [
    (Reply(500, body=b"fault"), ErrorKind.UNREACHABLE, True),
    (Reply(502, body=b""), ErrorKind.UNREACHABLE, True),
    (Reply(503, body=b"", headers={"Retry-After": "7"}), ErrorKind.BUSY, True),
    (Reply(504, body=b""), ErrorKind.TIMEOUT, True),
    (Reply(507, body=b""), ErrorKind.BUSY, True),
    (Reply(400, body=b"Concurrent file sends of the same data is not"), ErrorKind.BUSY, True),
    (Reply(400, body=b"java.io.IOException: No space left on device"), ErrorKind.BUSY, True),
    (Reply(401, body=b""), ErrorKind.UNAUTHORISED, False),
    (Reply(403, body=b""), ErrorKind.UNAUTHORISED, False),
    (Reply(404, body=b""), ErrorKind.MISCONFIGURED, False),
    (
        Reply(200, body=b"<html>Log in</html>", headers={"Content-Type": "text/html"}),
        ErrorKind.MISCONFIGURED,
        False,
    ),
    (
        Reply(302, body=b"", headers={"Location": "https://other.example/x?secret"}),
        ErrorKind.MISCONFIGURED,
        False,
    ),
    (Reply(200, body=b"what is this"), ErrorKind.UNEXPECTED, False),
]


@pytest.mark.parametrize(("reply", "kind", "temporary"), ANSWERS)
def test_answers_to_an_import_are_told_apart(
    peer: XnatRemote, tmp_path: Path, reply: Reply, kind: ErrorKind, temporary: bool
) -> None:
    target = peer.through(lambda asked: reply if asked.path.startswith(IMPORT) else None)
    error = failure(target, outgoing_of(make_ct(tmp_path / "ct", 2)))
    assert (error.kind, error.temporary) == (kind, temporary)
    assert "?secret" not in error.detail
    if "Retry-After" in reply.headers:
        assert error.retry_after == 7


def _reads_only(_peer: XnatRemote) -> dict[str, object]:
    return {"user": READER[0], "password": READER[1]}


def _hidden(peer: XnatRemote) -> dict[str, object]:
    peer.server.projects[PROJECT].editors.discard(USER)
    return {}


@pytest.mark.parametrize(
    ("prepare", "stage", "said"),
    [
        (lambda _peer: {"project": "LIVER"}, "authorise", "no project LIVER"),
        (_reads_only, "authorise", "not for this account to edit"),
        (_hidden, "authorise", "403"),
        (lambda _peer: {"password": "wrong"}, "authenticate", "not accepted"),
        (lambda peer: {"url": f"{peer.server.url}/other"}, "authenticate", "login"),
        (lambda _peer: {"password": {"env": "NOT_SET_ANYWHERE"}}, "authenticate", "not set here"),
        (lambda _peer: {"url": "http://no-such-host.invalid"}, "resolve", "no-such-host"),
    ],
)
def test_a_check_says_what_exactly_is_wrong(
    peer: XnatRemote, prepare: Callable[[XnatRemote], dict[str, object]], stage: str, said: str
) -> None:
    with adapter_for(peer.target(**prepare(peer))) as adapter:
        failed = adapter.check().failure
    assert failed is not None
    assert failed.name == stage
    assert said in failed.detail
    assert failed.advice


def test_a_check_tells_rights_and_version_and_writes_nothing(peer: XnatRemote) -> None:
    with adapter_for(peer.target()) as adapter:
        stages = {stage.name: stage.detail for stage in adapter.check().stages}
    assert "may be edited" in stages["authorise"]
    assert "1.8.10" in stages["round trip"]
    asked = {(method, path) for method, path, _ in peer.server.requests}
    assert {method for method, path in asked if "JSESSION" not in path} == {"GET"}
    assert peer.server.sessions == {}
