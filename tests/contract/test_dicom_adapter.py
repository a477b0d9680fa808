"""What only the DICOM adapter can get wrong."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from contract.remotes import dicom_target, outgoing_of, scripted, speaking
from crossdock.config.targets import Target
from crossdock.dicom.part10 import file_meta
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols import adapter_for
from servers.dcmtk import storescp
from servers.keeper import Keeper, keeping
from studies import PRIVATE_SOP_CLASS, dataset_bytes, make_ct, make_mixed


def send(target: Target, paths: list[Path]) -> list[InstanceOutcome]:
    with adapter_for(target) as adapter:
        return list(adapter.send(outgoing_of(paths)))


def failure(target: Target, paths: list[Path]) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        send(target, paths)
    return raised.value


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        (0x0000, Outcome.DELIVERED, "0000"),
        (0xB000, Outcome.WARNING, "B000"),
        (0xB007, Outcome.WARNING, "B007"),
        (0x0122, Outcome.REFUSED, "0122"),
        (0xA900, Outcome.REFUSED, "A900"),
        (0xC123, Outcome.REFUSED, "C123"),
    ],
)
def test_an_outcome_has_the_status_that_the_peer_gave(
    tmp_path: Path, status: int, outcome: Outcome, code: str
) -> None:
    with scripted([status]) as port:
        (found,) = send(dicom_target(port), make_ct(tmp_path, 1))
    assert (found.outcome, found.status) == (outcome, code)


def test_a_peer_out_of_resources_is_busy_and_gets_nothing_more(tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path, 4))
    with scripted([0x0000, 0xA700]) as port, adapter_for(dicom_target(port)) as adapter:
        outcomes = adapter.send(outgoing)
        assert next(outcomes).confirmed
        with pytest.raises(DeliveryError) as raised:
            next(outcomes)
    assert (raised.value.kind, raised.value.temporary) == (ErrorKind.BUSY, True)
    assert "A700" in raised.value.detail


def numbers_until_full(outcomes: Iterator[InstanceOutcome]) -> list[int]:
    """Return the numbers of the instances that a peer takes before it is out of resources."""
    numbers: list[int] = []
    with pytest.raises(DeliveryError, match="A700") as raised:
        numbers.extend(outcome.number for outcome in outcomes if outcome.confirmed)
    assert (raised.value.kind, raised.value.temporary) == (ErrorKind.BUSY, True)
    return numbers


def test_what_a_full_peer_took_of_the_instances_under_way_is_known(tmp_path: Path) -> None:
    keeper, answers = Keeper(), iter([0x0000, 0x0000, 0xA700, 0x0000, 0xA700])
    keeper.on_commit = lambda: next(answers, 0x0000)
    with keeping(keeper) as scp, adapter_for(dicom_target(scp.address[1])) as adapter:
        numbers = numbers_until_full(adapter.send(outgoing_of(make_ct(tmp_path, 60))))
    begun = len(keeper.instances)
    assert numbers == [number for number in range(1, begun + 1) if number not in (3, 5)]
    assert 6 < begun <= 2 + 16, "nothing was offered after the first A700"


def test_a_full_peer_that_says_nothing_more_is_full_all_the_same(tmp_path: Path) -> None:
    keeper, answers, over = Keeper(), iter([0x0000, 0xA700]), threading.Event()

    def commit() -> int:
        answer = next(answers, None)
        over.wait(20 if answer is None else 0)
        return answer or 0x0000

    keeper.on_commit = commit
    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1], timeout=2.0)
        with adapter_for(target) as adapter:
            assert numbers_until_full(adapter.send(outgoing_of(make_ct(tmp_path, 60)))) == [1]
        over.set()


def test_a_calling_ae_title_that_the_peer_does_not_know_is_unauthorised(tmp_path: Path) -> None:
    with scripted([], require_calling_aet=["SOMEBODY"]) as port:
        error = failure(dicom_target(port), make_ct(tmp_path, 1))
    assert (error.kind, error.temporary) == (ErrorKind.UNAUTHORISED, False)


def test_a_peer_with_no_association_left_is_busy(tmp_path: Path) -> None:
    paths = make_ct(tmp_path, 1)
    with scripted([], maximum_associations=1) as port, adapter_for(dicom_target(port)) as adapter:
        outcomes = adapter.send(outgoing_of(paths))
        assert next(outcomes).confirmed  # and its association stays
        error = failure(dicom_target(port), paths)
    assert (error.kind, error.temporary) == (ErrorKind.BUSY, True)


def test_a_silent_peer_is_a_timeout_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    with speaking(b"") as port:
        error = failure(dicom_target(port, timeout=0.5), make_ct(tmp_path, 1))
    assert (error.kind, error.temporary) == (ErrorKind.TIMEOUT, True)
    assert time.monotonic() - started < 10


def test_a_check_of_a_silent_peer_ends_in_time() -> None:
    with speaking(b"") as port, adapter_for(dicom_target(port, timeout=0.5)) as adapter:
        states = {stage.name: stage.state for stage in adapter.check().stages}
    del states["ping"]  # what a network lets through says nothing
    assert states == {
        "resolve": "ok",
        "connect": "ok",
        "associate": "failed",
        "echo": "skipped",
        "storage": "skipped",
    }


def test_a_check_says_that_a_name_cannot_be_resolved() -> None:
    with adapter_for(dicom_target(104, host="nobody.invalid")) as adapter:
        report = adapter.check()
    assert report.stages[0].state == "failed"
    assert "nobody.invalid" in report.stages[0].detail


def test_a_check_of_a_peer_without_verification_says_so_and_is_no_failure() -> None:
    with scripted([], verification=False) as port, adapter_for(dicom_target(port)) as adapter:
        report = adapter.check()
    assert report.green
    assert report.stages[-2].state == "skipped"
    assert "Verification" in report.stages[-2].detail


def test_what_the_peer_does_not_accept_is_refused_in_plain_words(tmp_path: Path) -> None:
    paths = make_mixed(tmp_path / "mixed")
    with scripted([]) as port:
        outcomes = send(dicom_target(port), paths)
    assert [outcome.outcome for outcome in outcomes[:3]] == [Outcome.DELIVERED] * 3
    assert {outcome.outcome for outcome in outcomes[3:]} == {Outcome.REFUSED}
    assert outcomes[3].detail == (
        "the peer does not accept MR Image Storage in Explicit VR Little Endian"
    )
    assert PRIVATE_SOP_CLASS in outcomes[-1].detail


def test_a_peer_that_accepts_nothing_refuses_each_instance(tmp_path: Path) -> None:
    paths = make_mixed(tmp_path / "mixed")[3:]
    with scripted([]) as port:
        outcomes = send(dicom_target(port), paths)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.REFUSED] * len(paths)


def test_a_mixed_study_arrives_as_it_was(tmp_path: Path) -> None:
    paths = make_mixed(tmp_path / "mixed")[:-1]
    with storescp(tmp_path / "scp", "+B", "+xa") as scp:
        outcomes = send(dicom_target(scp.port), paths)
        received = sorted(dataset_bytes(path) for path in scp.files())
    assert all(outcome.confirmed for outcome in outcomes)
    assert received == sorted(dataset_bytes(path) for path in paths)


def test_more_kinds_than_one_association_can_have_go_over_several(tmp_path: Path) -> None:
    body = dataset_bytes(make_ct(tmp_path / "ct", 1)[0])
    paths = []
    for number in range(300):
        meta = file_meta(
            sop_class_uid=f"{PRIVATE_SOP_CLASS}.{number}",
            sop_instance_uid=generate_uid(),
            transfer_syntax_uid="1.2.840.10008.1.2.1",
        )
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(meta + body)
    paths += make_ct(tmp_path / "more", 2)
    with storescp(tmp_path / "scp", "+B", "--promiscuous") as scp:
        outcomes = send(dicom_target(scp.port), paths)
        assert [outcome.number for outcome in outcomes] == list(range(1, 303))
        assert all(outcome.confirmed for outcome in outcomes)
        assert len(scp.files()) == 302


def test_a_web_server_is_misconfigured_and_said_so_without_its_words(tmp_path: Path) -> None:
    with speaking(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n") as port:
        error = failure(dicom_target(port, timeout=5), make_ct(tmp_path, 1))
    assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)
    assert "Bad Request" not in error.detail
