"""Storage commitment for senders, with pynetdicom as the modality."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from crossdock.config import parse_gateway
from crossdock.dicom.commitment import Reference, Request
from crossdock.dicom.commitment_scu import CommitmentUser
from crossdock.dicom.tls import TlsFiles, server_context
from crossdock.model import DeliveryState, Outcome
from crossdock.spool import Spool, StoredParcel
from nodes import listening
from parcels import make_spool, route, store_parcel
from receiver.commitment_reports import CommitmentReports, Patience
from servers.certificates import Authority
from servers.requester import (
    Named,
    Requester,
    accepts_commitment,
    act,
    ask,
    store,
)
from studies import make_ct
from waiting import until


ON = {"commitment": {}}
PROMPT = Patience(first=0.0, again=0.001, longest_look=0.001, longest=0.001)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


@pytest.fixture
def modality() -> Iterator[Requester]:
    requester = Requester()
    with requester.listening():
        yield requester


def references(stored: StoredParcel) -> list[Named]:
    return [(each.sop_class_uid, each.sop_instance_uid) for each in stored.parcel.instances]


def confirm(stored: StoredParcel, target: str, *, conclude: bool = True) -> None:
    """Have a target confirm all of a parcel, as a dispatcher does."""
    claim = stored.claim(target)
    assert claim is not None
    for each in stored.parcel.instances:
        outcome = {"number": each.number, "sop_instance_uid": each.sop_instance_uid}
        claim.note(outcome={**outcome, "outcome": Outcome.DELIVERED.value})
    if conclude:
        stored.conclude(claim, DeliveryState.DELIVERED)
    claim.release()


def result(
    spool: Spool, modality: Requester, asked: list[Named], **commitment: object
) -> tuple[list[str], dict[str, int]]:
    """Ask for something, and return what is reported over an association of the gateway."""
    settings = {"port": modality.port, **commitment}
    count = len(modality.told)
    with listening(spool, commitment=settings) as port, modality.associated(port) as assoc:
        status, transaction = ask(assoc, asked)
    assert status == 0x0000
    CommitmentReports(spool, PROMPT).look()
    (told,) = modality.told[count:]
    assert (told.transaction, told.over) == (transaction, "another")
    assert told.event_type == (2 if told.failed else 1)
    assert spool.owed.keys() == []
    return told.committed, told.failed


@pytest.mark.parametrize("sync", ["instance", "association", "none"])
def test_a_modality_that_waits_gets_its_result_over_its_own_association(
    spool: Spool, modality: Requester, tmp_path: Path, sync: str
) -> None:
    with listening(spool, commitment={}, sync=sync) as port, modality.associated(port) as assoc:
        stored = store(assoc, make_ct(tmp_path / "ct", 3))
        status, transaction = ask(assoc, stored)
        assert status == 0x0000
        (told,) = until(lambda: list(modality.told), what="the result")
        assert (told.transaction, told.over, told.event_type) == (transaction, "own", 1)
        assert sorted(told.committed) == sorted(uid for _, uid in stored)
        until(lambda: not spool.owed.keys(), what="nothing is owed")
        assert ask(assoc, stored)[0] == 0x0000  # the association goes on
        until(lambda: len(modality.told) == 2, what="the second result")


def test_a_modality_that_has_gone_gets_its_result_over_another_association(
    spool: Spool, modality: Requester, tmp_path: Path
) -> None:
    named = {"commitment_host": "localhost", "commitment_port": modality.port}
    sources = [{"ae_title": "CT1", **named}]
    with (
        listening(spool, commitment={"port": 1}, sources=sources) as port,
        modality.associated(port) as assoc,
    ):
        stored = store(assoc, make_ct(tmp_path / "ct", 2))
        ask(assoc, stored)
    reports = CommitmentReports(spool, Patience(first=100.0))
    reports.look()
    assert modality.told == []  # its own association comes first
    reports.look(time.time() + 101)
    (told,) = modality.told
    assert sorted(told.committed) == sorted(uid for _, uid in stored)
    assert told.over == "another"


def test_what_is_not_there_or_of_another_class_is_not_committed(
    spool: Spool, modality: Requester, tmp_path: Path
) -> None:
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 3))
    one, two, three = references(stored)
    strange = (CTImageStorage, generate_uid())
    stored.file(stored.parcel.instances[2]).write_bytes(b"damaged")
    asked = [one, (MRImageStorage, two[1]), three, strange]
    committed, failed = result(spool, modality, asked)
    assert committed == [one[1]]
    assert failed == {two[1]: 0x0119, three[1]: 0x0112, strange[1]: 0x0112}


def test_what_is_delivered_is_committed_as_long_as_it_is_kept_and_what_was_discarded_never(
    spool: Spool, modality: Requester, tmp_path: Path
) -> None:
    delivered = store_parcel(spool, make_ct(tmp_path / "a", 1))
    route(delivered, "archive")
    confirm(delivered, "archive")
    assert delivered.retire(spool.retired)
    discarded = store_parcel(spool, make_ct(tmp_path / "b", 1))
    unwanted = spool.hold(discarded, "nobody wanted it")
    asked = references(unwanted)
    assert result(spool, modality, asked)[0] == [asked[0][1]]
    spool.discard(unwanted, "not needed")
    assert result(spool, modality, asked)[1] == {asked[0][1]: 0x0112}
    asked = references(StoredParcel(spool.retired / delivered.id))
    assert result(spool, modality, asked)[0] == [asked[0][1]]
    spool.delete_retired(delivered.id)
    assert result(spool, modality, asked)[1] == {asked[0][1]: 0x0112}


def test_with_targets_a_result_waits_until_so_many_have_confirmed(
    spool: Spool, modality: Requester, tmp_path: Path
) -> None:
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 2))
    route(stored, "archive", "research", "cloud")
    settings = {"targets": 2, "port": modality.port}
    with listening(spool, commitment=settings) as port, modality.associated(port) as assoc:
        ask(assoc, references(stored))
    CommitmentReports(spool, PROMPT).look()
    confirm(stored, "archive")
    CommitmentReports(spool, PROMPT).look()  # another process, which knows what the spool knows
    assert modality.told == []
    confirm(stored, "research", conclude=False)
    CommitmentReports(spool, PROMPT).look()
    assert sorted(modality.told[0].committed) == sorted(uid for _, uid in references(stored))


def test_when_the_time_is_over_what_targets_lack_has_failed(
    spool: Spool, modality: Requester, tmp_path: Path
) -> None:
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    route(stored, "archive")
    settings = {"targets": 1, "port": modality.port, "wait_seconds": 100}
    with listening(spool, commitment=settings) as port, modality.associated(port) as assoc:
        ask(assoc, references(stored))
    reports = CommitmentReports(spool, PROMPT)
    reports.look()
    assert modality.told == []
    reports.look(time.time() + 101)
    assert modality.told[0].failed == {references(stored)[0][1]: 0x0110}


def test_a_result_is_kept_until_the_requester_takes_it_and_does_not_change(
    spool: Spool, tmp_path: Path
) -> None:
    modality = Requester(status=0x0110)
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    with modality.listening():  # a port, which nobody listens at afterwards
        pass
    with (
        listening(spool, commitment={"port": modality.port}) as port,
        modality.associated(port) as assoc,
    ):
        ask(assoc, references(stored))
    reports = CommitmentReports(spool, Patience(first=0.0, again=50.0, longest=50.0))
    now = time.time()
    reports.look(now)
    stored.remove()
    with modality.listening():
        reports.look(now + 49)
        assert modality.told == []  # left alone for a while
        reports.look(now + 51)
        assert len(modality.told) == 1
        assert spool.owed.keys() != []  # refused
        modality.status = 0x0000
        CommitmentReports(spool, PROMPT).look()
    assert modality.told[1].committed == [references(stored)[0][1]]
    assert spool.owed.keys() == []


def test_results_go_over_tls_where_the_node_says_so(spool: Spool, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    issued = authority.issue("modality", alternative="IP:127.0.0.1")
    files = TlsFiles(certificate=str(issued.certificate), key=str(issued.key))
    modality = Requester()
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    with modality.listening(server_context(files)):
        tls = {"ca": str(authority.certificate)}
        node = {"commitment": {"port": modality.port, "tls": tls}}
        with listening(spool, **node) as port, modality.associated(port) as assoc:
            ask(assoc, references(stored))
        reports = CommitmentReports(spool, PROMPT)
        document = {"name": "main", "ae_title": "CROSSDOCK", "port": port, "accept": "any"}
        reports.configure(parse_gateway({"store_nodes": [document | node]}))
        reports.look()
    assert modality.told[0].committed == [references(stored)[0][1]]


def test_a_requester_that_hangs_does_not_keep_us_from_stopping(
    spool: Spool, tmp_path: Path
) -> None:
    modality = Requester()
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {"port": silent.getsockname()[1]}
        with listening(spool, commitment=settings) as port, modality.associated(port) as assoc:
            ask(assoc, references(stored))
        reports = CommitmentReports(spool, PROMPT)
        reports.start()
        connection, _ = silent.accept()
        started = time.monotonic()
        reports.close()
        assert time.monotonic() - started < 20
        connection.close()
    assert len(spool.owed.keys()) == 1


def test_a_result_that_nobody_takes_is_given_up_after_a_day(spool: Spool, tmp_path: Path) -> None:
    modality = Requester()
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    with (
        listening(spool, commitment={"port": 1, "wait_seconds": 60}) as port,
        modality.associated(port) as assoc,
    ):
        ask(assoc, references(stored))
    reports = CommitmentReports(spool, PROMPT)
    reports.look()
    assert len(spool.owed.keys()) == 1
    reports.look(time.time() + 86_400 + 100)
    assert spool.owed.keys() == []


def test_requests_that_make_no_sense_are_refused_and_the_association_goes_on(
    spool: Spool, modality: Requester
) -> None:
    one = [(CTImageStorage, "1.2.3")]
    nonsense = Dataset()
    nonsense.PatientName = "X"
    with listening(spool, **ON) as port, modality.associated(port) as assoc:
        assert act(assoc, nonsense) == 0x0115
        assert ask(assoc, [])[0] == 0x0115
        assert ask(assoc, one, action=2)[0] == 0x0123
        assert ask(assoc, one, instance="1.2.3")[0] == 0x0112
        assert spool.owed.keys() == []
        assert ask(assoc, one)[0] == 0x0000
    assert len(spool.owed.keys()) == 1


def test_a_request_of_any_size_is_answered_and_one_too_large_refused(spool: Spool) -> None:
    many = tuple(Reference(CTImageStorage, f"1.2.3.{number}") for number in range(100_000))
    titles = {"called_ae_title": "CROSSDOCK", "calling_ae_title": "CT1"}
    with listening(spool, **ON) as port, CommitmentUser("127.0.0.1", port, **titles) as scu:
        scu.begin()
        for count, status in ((100_000, 0x0213), (20_001, 0x0213), (20_000, 0x0000)):
            request = Request("2.25.17", many[:count])
            assert scu.request(request, lambda _: 0) == status
    (key,) = spool.owed.keys()
    owed = spool.owed.get(key)
    assert owed is not None
    assert len(owed.references) == 20_000


def test_what_cannot_be_made_durable_is_not_answered_with_success(
    spool: Spool, modality: Requester
) -> None:
    (spool.root / "commitments").touch()
    with listening(spool, **ON) as port, modality.associated(port) as assoc:
        assert ask(assoc, [(CTImageStorage, "1.2.3")])[0] == 0x0110
        (spool.root / "commitments").unlink()
        assert ask(assoc, [(CTImageStorage, "1.2.3")])[0] == 0x0000


def test_nobody_can_have_more_owed_than_there_is_room_for(
    spool: Spool, modality: Requester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossdock.spool.owed.MAX_OWED", 2)
    with listening(spool, **ON) as port, modality.associated(port) as assoc:
        answers = [ask(assoc, [(CTImageStorage, "1.2.3")])[0] for _ in range(3)]
    assert answers == [0x0000, 0x0000, 0x0213]


def test_a_node_without_commitment_hears_results_and_takes_no_requests(spool: Spool) -> None:
    with listening(spool) as port:
        assert not accepts_commitment(port)
        assert accepts_commitment(port, scp=True)
    with listening(spool, **ON) as port:
        assert accepts_commitment(port)
