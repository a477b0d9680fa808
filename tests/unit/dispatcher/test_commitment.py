"""Storage commitment of what a dispatcher sent, with pynetdicom as the archive."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE

from contract.remotes import dicom_target
from crossdock.bus import Retry
from crossdock.bus.topology import deliveries
from crossdock.config.targets import Target
from crossdock.dicom.commitment import Report
from crossdock.dicom.tls import TlsFiles, server_context
from crossdock.messages import DeliveryFinished, Message
from crossdock.model import DeliveryState
from crossdock.protocols import ADAPTERS, Outgoing, adapter_for
from crossdock.protocols.dicom import DicomAdapter
from crossdock.spool import StoredParcel
from dispatcher.reports import Reports
from nodes import listening
from parcels import route, store_parcel
from ports import free_port
from servers.archive import Archive, archiving, tell
from servers.certificates import Authority
from studies import make_ct
from unit.dispatcher.places import Place
from waiting import until


T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 1e-9
PATIENT = {"wait_seconds": 1000, "same_association_seconds": 0}
HASTY = {"wait_seconds": 0.01, "ask_again": 2, "same_association_seconds": 0}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def archive() -> Iterator[Archive]:
    with archiving(Archive()) as archive:
        yield archive


def committing(archive: Archive, *, means: str = "committed", **commitment: object) -> Target:
    return dicom_target(archive.port, name="archive", commitment=commitment, delivered_means=means)


def parcel(place: Place, count: int) -> tuple[StoredParcel, Message]:
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", count))
    return stored, route(stored, "archive", protocol="dicom")[0]


def uids(stored: StoredParcel) -> list[str]:
    return [instance.sop_instance_uid for instance in stored.parcel.instances]


def dealt_with(place: Place, target: Target, message: Message) -> bool:
    """Deal with a delivery once; return whether that was the last time."""
    try:
        place.dispatch(scale=AT_ONCE)(target, message)
    except Retry:
        return False
    return True


def test_a_result_over_the_same_association_makes_a_delivery_final(
    place: Place, archive: Archive
) -> None:
    stored, message = parcel(place, 3)
    dealt_with(place, committing(archive, same_association_seconds=20), message)
    (end,) = place.ends(1)
    assert (end.state, end.delivered, end.remark) == (
        DeliveryState.DELIVERED,
        3,
        "committed by PEER",
    )
    assert [sorted(each) for _, each in archive.asked] == [sorted(uids(stored))]
    assert until(lambda: archive.answers) == [0x0000]
    assert place.spool.find(stored.id) is None
    assert place.spool.commitments.asked() == place.spool.commitments.reported() == []


def test_a_peer_over_tls_is_asked_over_tls(place: Place, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    issued = authority.issue("peer", alternative="IP:127.0.0.1")
    files = TlsFiles(certificate=str(issued.certificate), key=str(issued.key))
    with archiving(Archive(), tls=server_context(files)) as archive:
        _, message = parcel(place, 2)
        tls = {"ca": str(authority.certificate)}
        settings = {"commitment": {"same_association_seconds": 20}, "delivered_means": "committed"}
        target = dicom_target(archive.port, name="archive", type="dicom+tls", tls=tls, **settings)
        dealt_with(place, target, message)
        assert place.ends(1)[0].remark == "committed by PEER"


def test_a_peer_that_admits_one_association_is_asked_after_it_is_free(place: Place) -> None:
    with archiving(Archive(), associations=1) as archive:
        _, message = parcel(place, 2)
        target = committing(archive, same_association_seconds=20)
        until(lambda: dealt_with(place, target, message), what="delivered")
        assert place.ends(1)[0].remark == "committed by PEER"
    assert len(archive.stored) == 2


def test_a_peer_that_goes_away_before_it_is_asked_is_asked_when_it_is_back(
    place: Place, archive: Archive
) -> None:
    archive.over = "none"
    stored, message = parcel(place, 1)
    dealt_with(place, committing(archive, **HASTY), message)
    away = committing(archive, **HASTY).model_copy(update={"port": free_port()})
    for _ in range(3):
        until(lambda: stored.record("archive").next_try < time.time(), what="the next try is due")
        assert not dealt_with(place, away, message)
    assert stored.record("archive").setbacks == 3
    assert len(place.spool.commitments.asked()) == 1
    archive.over = "same"
    dealt_with(place, committing(archive, same_association_seconds=20), message)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED
    assert len(archive.stored) == 1


def test_a_late_result_of_an_earlier_request_counts(place: Place, archive: Archive) -> None:
    archive.over = "none"
    stored, message = parcel(place, 1)
    target = committing(archive, **HASTY)
    dealt_with(place, target, message)
    until(lambda: dealt_with(place, target, message) or len(archive.asked) == 2, what="asked again")
    with listening(place.spool) as port:
        assert archive.tell(port, "CROSSDOCK", *archive.asked[0]) == 0x0000
    until(lambda: dealt_with(place, target, message), what="delivered")
    assert place.ends(1)[0].state is DeliveryState.DELIVERED
    assert archive.stored == uids(stored)


class Killed(BaseException):
    """The process is gone; the kernel gives its locks back."""


@pytest.mark.parametrize("step", ["before", "begun", "asked", "kept"])
def test_a_dispatcher_may_die_at_any_step_of_asking(
    place: Place, archive: Archive, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Mortal(DicomAdapter):
        def ask_commitment(
            self,
            instances: Sequence[Outgoing],
            begin: Callable[[Sequence[Outgoing]], str],
            keep: Callable[[Report], int],
        ) -> None:
            def dies_in(call: Callable[[T], R], at: str) -> Callable[[T], R]:
                def called(argument: T) -> R:
                    result = call(argument)
                    if step == at:
                        raise Killed
                    return result

                return called

            if step == "before":
                raise Killed
            super().ask_commitment(instances, dies_in(begin, "begun"), keep)
            if step in ("asked", "kept"):
                raise Killed

    archive.over = "none" if step == "asked" else "same"
    stored, message = parcel(place, 2)
    target = committing(archive, same_association_seconds=20 if step == "kept" else 0)
    with monkeypatch.context() as patched:
        patched.setitem(ADAPTERS, "dicom", Mortal)
        with pytest.raises(Killed):
            dealt_with(place, target, message)
    archive.over = "same"
    target = committing(archive, same_association_seconds=20)
    assert dealt_with(place, target, message)
    (end,) = place.ends(1)
    assert (end.state, end.remark) == (DeliveryState.DELIVERED, "committed by PEER")
    assert archive.stored == uids(stored)
    assert len(archive.asked) == (2 if step == "asked" else 1)


def test_a_delivery_waits_for_its_result_without_a_connection_and_says_so(
    place: Place, archive: Archive
) -> None:
    archive.over = "none"
    stored, message = parcel(place, 2)
    with pytest.raises(Retry) as raised:
        place.dispatch()(committing(archive, **PATIENT), message)
    assert 990 < raised.value.delay <= 1000
    (attempt,) = place.attempts(1)
    assert (attempt.kind, attempt.delivered) == ("", 2)
    assert attempt.detail.startswith("sent; waits for the storage commitment of PEER, asked 2")
    assert attempt.next_try == pytest.approx(time.time() + 1000, abs=10)
    assert stored.targets("pending") == ["archive"]
    assert place.reports == [None]
    with pytest.raises(Retry):
        place.dispatch()(committing(archive, **PATIENT), message)
    assert len(archive.asked) == 1


def test_a_result_over_another_association_reaches_the_delivery_after_a_restart(
    place: Place, archive: Archive
) -> None:
    archive.over = "none"
    stored, message = parcel(place, 3)
    target = committing(archive, **PATIENT)
    dealt_with(place, target, message)
    heard: list[Message] = []
    place.bus.consume(deliveries("archive"), heard.append)
    with listening(place.spool) as port:
        assert archive.tell(port, "CROSSDOCK", *archive.asked[0]) == 0x0000
    reports = Reports(place.spool, place.bus, ["dicom"])
    reports.look()
    (again,) = until(lambda: list(heard), what="the delivery's message")
    reports.look()
    dealt_with(place, target, again)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED
    assert len(heard) == 1
    assert sorted(archive.stored) == sorted(uids(stored))
    assert place.spool.commitments.asked() == []


def test_only_what_is_not_committed_is_sent_again_and_asked_for_again(
    place: Place, archive: Archive
) -> None:
    stored, message = parcel(place, 3)
    bad = uids(stored)[1]
    archive.fails = lambda uid: uid == bad and len(archive.asked) == 1
    target = committing(archive, same_association_seconds=20)
    with pytest.raises(Retry):
        place.dispatch(scale=AT_ONCE)(target, message)
    record = stored.record("archive")
    assert (record.attempts, record.outcomes[2].status) == (1, "0112")
    dealt_with(place, target, message)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED
    first, _ = place.attempts(2)
    assert first.kind == "refused"
    assert first.detail == (
        "1 of 3 instances were not committed, the first with: 0112 no such object instance"
    )
    assert archive.stored == [*uids(stored), bad]
    assert [each for _, each in archive.asked] == [uids(stored), [bad]]


def test_what_is_never_committed_is_held_with_the_reason(place: Place, archive: Archive) -> None:
    archive.fails = lambda _uid: True
    stored, message = parcel(place, 1)
    target = committing(archive, same_association_seconds=20)
    until(lambda: dealt_with(place, target, message), what="held")
    (end,) = place.ends(1)
    assert (end.state, end.missing) == (DeliveryState.HELD, 1)
    assert "not committed, the first with: 0112 no such object instance" in end.reason
    assert len(archive.stored) == len(archive.asked) == 5
    assert stored.targets("held") == ["archive"]
    archive.fails = lambda _uid: False
    stored.resume("archive")
    dealt_with(place, committing(archive, same_association_seconds=20), message)
    assert place.ends(2)[1].state is DeliveryState.DELIVERED


def test_a_peer_that_never_answers_is_asked_again_then_sent_to_again_and_at_last_held(
    place: Place, archive: Archive
) -> None:
    archive.over = "none"
    _, message = parcel(place, 2)
    target = committing(archive, **HASTY)
    until(lambda: dealt_with(place, target, message), what="held")
    (end,) = place.ends(1)
    assert "2 of 2 instances were not committed within 0.01 s, asked 3 times" in end.reason
    assert len(archive.stored) == 2 * 5
    assert len(archive.asked) == 3 * 5
    assert len({transaction for transaction, _ in archive.asked}) == 15


def test_where_delivered_means_stored_commitment_is_a_remark(
    place: Place, archive: Archive
) -> None:
    archive.over = "none"
    stored, message = parcel(place, 2)
    target = committing(archive, means="stored", **PATIENT)
    dealt_with(place, target, message)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED
    assert stored.targets("pending") == ["archive"]
    transaction, asked = archive.asked[0]
    archive.fails = lambda uid: uid == asked[0]
    with listening(place.spool) as port:
        assert archive.tell(port, "CROSSDOCK", transaction, asked) == 0x0000
    Reports(place.spool, place.bus, ["dicom"]).look()
    dealt_with(place, target, message)
    _, end = place.ends(2)
    assert (end.state, end.missing) == (DeliveryState.DELIVERED, 0)
    assert end.remark == (
        "stored; 1 of 2 instances were not committed, the first with: 0112 no such object instance"
    )
    assert place.spool.find(stored.id) is None
    assert len(archive.stored) == 2


def test_a_target_that_is_deleted_meanwhile_leaves_a_stored_delivery_delivered(
    place: Place, archive: Archive
) -> None:
    archive.over = "none"
    stored, message = parcel(place, 1)
    dealt_with(place, committing(archive, means="stored", **PATIENT), message)
    place.hold(stored, "archive", "target archive is no longer configured")
    ends: list[DeliveryFinished] = place.ends(2)
    assert {end.state for end in ends} == {DeliveryState.DELIVERED}
    assert place.spool.find(stored.id) is None


@pytest.mark.parametrize("means", ["committed", "stored"])
def test_a_peer_without_commitment_is_a_misconfigured_target_or_a_remark(
    place: Place, means: str
) -> None:
    with archiving(Archive(), commits=False) as archive:
        stored, message = parcel(place, 1)
        dealt_with(place, committing(archive, means=means), message)
    if means == "stored":
        assert place.ends(2)[1].remark == "stored; the peer does not take storage commitment"
        return
    (attempt,) = place.attempts(1)
    assert (attempt.kind, attempt.delivered) == ("misconfigured", 1)
    assert attempt.detail == "the peer does not take storage commitment"
    assert stored.record("archive").attempts == 0


@pytest.mark.parametrize("commits", [True, False])
def test_a_check_says_whether_the_peer_takes_commitment(commits: bool) -> None:
    with archiving(Archive(), commits=commits) as archive:
        target = committing(archive)
        with adapter_for(target) as adapter:
            report = adapter.check()
    stage = report.stages[-1]
    assert (stage.name, stage.state) == ("commitment", "ok" if commits else "failed")
    assert report.green is commits
    assert stage.advice == "" if commits else "leave out commitment" in stage.advice


def test_a_peer_that_refuses_the_request_is_tried_again_and_sends_nothing_twice(
    place: Place, archive: Archive
) -> None:
    archive.status = 0x0213
    stored, message = parcel(place, 2)
    dealt_with(place, committing(archive), message)
    (attempt,) = place.attempts(1)
    assert attempt.kind == "refused"
    assert "0213 resource limitation" in attempt.detail
    archive.status = 0
    dealt_with(place, committing(archive, same_association_seconds=20), message)
    assert place.ends(1)[0].state is DeliveryState.DELIVERED
    assert archive.stored == uids(stored)


def test_a_person_can_have_it_asked_again_now(place: Place, archive: Archive) -> None:
    archive.over = "none"
    stored, message = parcel(place, 1)
    target = committing(archive, **PATIENT)
    dealt_with(place, target, message)
    claim = stored.claim("archive")
    assert claim is not None
    claim.note(retry=True)
    claim.release()
    dealt_with(place, target, message)
    assert len(archive.asked) == 2


def test_transactions_of_deliveries_that_are_over_are_forgotten(
    place: Place, archive: Archive
) -> None:
    archive.over = "none"
    stored, message = parcel(place, 1)
    dealt_with(place, committing(archive, **PATIENT), message)
    assert len(place.spool.commitments.asked()) == 1
    stored.remove()
    Reports(place.spool, place.bus, ["dicom"]).look()
    assert place.spool.commitments.asked() == []


def test_reports_that_nobody_asked_for_are_refused(place: Place) -> None:
    ds = Dataset()
    ds.TransactionUID = "2.25.4711"
    ds.ReferencedSOPSequence = []
    with listening(place.spool) as port:
        assert tell(port, "CROSSDOCK", 1, ds) == 0x0115  # unknown
        assert tell(port, "CROSSDOCK", 3, ds) == 0x0113  # no such event
        no_uid = DataElement(0x00081195, "UI", "../../parcels", validation_mode=IGNORE)
        ds.add(no_uid)
        assert tell(port, "CROSSDOCK", 1, ds) == 0x0115
        del ds.TransactionUID
        ds.PatientName = "X"
        assert tell(port, "CROSSDOCK", 1, ds) == 0x0115
    assert place.spool.commitments.reported() == []
