"""AE titles that are passed on, and instances that go back to where they came from."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.remotes import dicom_target, outgoing_of
from crossdock.config.targets import Target
from crossdock.dicom.negotiation import CALLING_AE_TITLE_NOT_RECOGNISED
from crossdock.dicom.storage_scp import Caller, Rejection
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import Instance, InstanceOutcome, Outcome
from crossdock.protocols import Outgoing, adapter_for
from ports import free_port
from servers.keeper import Keeper, keeping
from studies import make_ct


class Choosy(Keeper):
    """Keeps only what comes from KNOWN."""

    def admit(self, caller: Caller) -> Rejection | None:
        known = caller.calling_ae_title == "KNOWN"
        return super().admit(caller) if known else CALLING_AE_TITLE_NOT_RECOGNISED


def came_by(outgoing: Outgoing, calling: str, called: str, address: str = "10.0.0.7") -> Outgoing:
    came = {"calling_ae_title": calling, "called_ae_title": called, "address": address}
    return Outgoing(outgoing.instance.model_copy(update=came), outgoing.path)


def mixed(directory: Path, count: int = 12) -> list[Outgoing]:
    """Return instances of three senders that took turns."""
    ways = [("CT1", "ARCHIVE"), ("MR.2 B", "ARCHIVE"), ("CT1", "RESEARCH")]
    outgoing = outgoing_of(make_ct(directory, count))
    return [came_by(each, *ways[number % 3]) for number, each in enumerate(outgoing)]


def send(target: Target, outgoing: list[Outgoing]) -> list[InstanceOutcome]:
    with adapter_for(target) as adapter:
        return list(adapter.send(outgoing))


def titles(keeper: Keeper) -> dict[str, tuple[str, str]]:
    """Return by which AE titles, calling and called, each instance arrived."""
    return {
        kept.sop_instance_uid: (kept.caller.calling_ae_title, kept.caller.called_ae_title)
        for kept in keeper.instances
    }


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        ((), lambda _instance: ("CROSSDOCK", "PEER")),
        (("calling",), lambda instance: (instance.calling_ae_title, "PEER")),
        (("called",), lambda instance: ("CROSSDOCK", instance.called_ae_title)),
        (
            ("calling", "called"),
            lambda instance: (instance.calling_ae_title, instance.called_ae_title),
        ),
    ],
)
@pytest.mark.parametrize("associations", [1, 3])
def test_ae_titles_are_passed_on_and_outcomes_are_in_order(
    tmp_path: Path,
    passed: tuple[str, ...],
    expected: Callable[[Instance], tuple[str, str]],
    associations: int,
) -> None:
    keeper, outgoing = Keeper(), mixed(tmp_path)
    settings = {f"pass_{which}_ae_title": True for which in passed}
    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1], associations=associations, **settings)
        outcomes = send(target, outgoing)
    assert [each.number for each in outcomes] == [each.instance.number for each in outgoing]
    assert all(each.outcome is Outcome.DELIVERED for each in outcomes)
    assert titles(keeper) == {
        each.instance.sop_instance_uid: expected(each.instance) for each in outgoing
    }


def test_senders_that_took_turns_cost_one_association_each(tmp_path: Path) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1], pass_calling_ae_title=True, pass_called_ae_title=True)
        send(target, mixed(tmp_path, 30))
    callers = Counter((each.calling_ae_title, each.called_ae_title) for each in keeper.admitted)
    assert callers == {("CT1", "ARCHIVE"): 1, ("MR.2 B", "ARCHIVE"): 1, ("CT1", "RESEARCH"): 1}


def test_the_order_holds_where_an_instance_is_there_twice(tmp_path: Path) -> None:
    keeper = Keeper()
    first, other, again = outgoing_of([*make_ct(tmp_path, 2), tmp_path / "0001.dcm"])
    outgoing = [came_by(first, "A", "X"), came_by(other, "B", "X"), came_by(again, "C", "X")]
    with keeping(keeper) as scp:
        send(dicom_target(scp.address[1], pass_calling_ae_title=True), outgoing)
    assert [kept.caller.calling_ae_title for kept in keeper.instances] == ["A", "B", "C"]


def test_an_instance_without_ae_titles_goes_by_those_of_the_target(tmp_path: Path) -> None:
    keeper = Keeper()
    outgoing = [came_by(each, "", "") for each in outgoing_of(make_ct(tmp_path, 1))]
    with keeping(keeper) as scp:
        send(
            dicom_target(scp.address[1], pass_calling_ae_title=True, pass_called_ae_title=True),
            outgoing,
        )
    assert [*titles(keeper).values()] == [("CROSSDOCK", "PEER")]


def test_one_adapter_passes_on_the_titles_of_each_delivery(tmp_path: Path) -> None:
    keeper = Keeper()
    outgoing = outgoing_of(make_ct(tmp_path, 3))
    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1], pass_calling_ae_title=True)
        with adapter_for(target) as adapter:
            for each, title in zip(outgoing, ("A", "B", "A"), strict=True):
                assert [found.confirmed for found in adapter.send([came_by(each, title, "X")])]
    assert [kept.caller.calling_ae_title for kept in keeper.instances] == ["A", "B", "A"]


def test_a_title_that_the_peer_does_not_know_leaves_the_others_confirmed(tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path, 4))
    senders = ("KNOWN", "STRANGER", "KNOWN", "STRANGER")
    outgoing = [came_by(each, title, "X") for each, title in zip(outgoing, senders, strict=True)]
    found: list[InstanceOutcome] = []
    with keeping(Choosy()) as scp:
        target = dicom_target(scp.address[1], pass_calling_ae_title=True)
        with adapter_for(target) as adapter, pytest.raises(DeliveryError) as raised:
            found.extend(adapter.send(outgoing))
    assert raised.value.kind is ErrorKind.UNAUTHORISED
    assert [each.number for each in found] == [1, 3]
    assert all(each.confirmed for each in found)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_instances_go_back_to_where_they_came_from(tmp_path: Path, address: str) -> None:
    keeper = Keeper()
    outgoing = [came_by(each, "CT1", "X", address) for each in outgoing_of(make_ct(tmp_path, 2))]
    with keeping(keeper, host=address) as scp:
        outcomes = send(dicom_target(scp.address[1], host="sender"), outgoing)
    assert [each.outcome for each in outcomes] == [Outcome.DELIVERED] * 2
    assert len(keeper.committed) == 2


def test_an_instance_of_an_unknown_sender_is_not_sent_and_says_why(tmp_path: Path) -> None:
    keeper = Keeper()
    outgoing = outgoing_of(make_ct(tmp_path, 2))
    outgoing = [
        came_by(outgoing[0], "CT1", "X", "127.0.0.1"),
        came_by(outgoing[1], "CT1", "X", ""),
    ]
    with keeping(keeper) as scp:
        outcomes = send(dicom_target(scp.address[1], host="sender"), outgoing)
    assert [each.outcome for each in outcomes] == [Outcome.DELIVERED, Outcome.NOT_SENT]
    assert "address of its sender is not known" in outcomes[1].detail


def test_a_check_cannot_know_the_sender_and_says_so() -> None:
    with adapter_for(dicom_target(free_port(), host="sender")) as adapter:
        report = adapter.check()
    assert report.green
    assert [stage.name for stage in report.stages] == ["sender"]
    assert "no check can know" in report.stages[0].detail


def test_a_check_uses_the_titles_of_the_target() -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1], pass_calling_ae_title=True)
        with adapter_for(target) as adapter:
            assert adapter.check().green
    assert [caller.calling_ae_title for caller in keeper.admitted] == ["CROSSDOCK"]
