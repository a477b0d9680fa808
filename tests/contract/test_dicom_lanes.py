"""A delivery that goes over several associations side by side."""

import threading
from pathlib import Path

import pytest

from contract.remotes import dicom_target, outgoing_of, scripted
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome
from crossdock.protocols import adapter_for
from servers.dcmtk import storescp
from servers.keeper import Keeper, keeping
from studies import by_uid, make_ct


def test_outcomes_come_in_order_and_everything_arrives(tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 21))
    with storescp(tmp_path / "peer", "--fork") as peer:
        target = dicom_target(peer.port, associations=4)
        with adapter_for(target) as adapter:
            outcomes = list(adapter.send(outgoing))
        received = by_uid(peer.files())
    assert [each.number for each in outcomes] == [each.instance.number for each in outgoing]
    assert all(each.confirmed for each in outcomes)
    assert received == by_uid([each.path for each in outgoing])


def test_fewer_instances_than_associations_are_no_trouble(tmp_path: Path) -> None:
    with scripted([0x0000]) as port, adapter_for(dicom_target(port, associations=8)) as adapter:
        (outcome,) = adapter.send(outgoing_of(make_ct(tmp_path, 1)))
    assert outcome.confirmed


def test_the_failure_of_one_association_ends_them_all_and_keeps_what_is_confirmed(
    tmp_path: Path,
) -> None:
    outgoing = outgoing_of(make_ct(tmp_path, 12))
    found: list[InstanceOutcome] = []
    keeper = Keeper()
    answers = iter([0x0000, 0x0000, 0x0000])
    keeper.on_commit = lambda: next(answers, 0xA700)
    with (
        keeping(keeper) as scp,
        adapter_for(dicom_target(scp.address[1], associations=3)) as adapter,
        pytest.raises(DeliveryError) as raised,
    ):
        found.extend(adapter.send(outgoing))
    assert raised.value.kind is ErrorKind.BUSY
    assert all(each.confirmed for each in found)
    assert [each.number for each in found] == sorted(each.number for each in found)
    assert not [each for each in threading.enumerate() if each.name == "dicom-lane"]


def test_what_all_associations_have_under_way_at_a_full_peer_is_known(tmp_path: Path) -> None:
    keeper, found = Keeper(), list[InstanceOutcome]()
    outgoing = outgoing_of(make_ct(tmp_path, 120))
    lock, full = threading.Lock(), list[str]()
    never = threading.Event()

    def commit() -> int:
        name = threading.current_thread().name
        with lock:
            full.append(name)
            if name == full[0]:
                return 0xA700 if full.count(name) == 2 else 0x0000
        never.wait(0.02)  # the others are slower
        return 0x0000

    keeper.on_commit = commit
    with (
        keeping(keeper) as scp,
        adapter_for(dicom_target(scp.address[1], associations=3)) as adapter,
        pytest.raises(DeliveryError, match="A700"),
    ):
        found.extend(adapter.send(outgoing))
    assert len(found) == len(keeper.instances) - 1 < 119
    assert len({each.number for each in found}) == len(found)


def test_closing_an_adapter_in_the_middle_leaves_no_thread(tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path, 12))
    with (
        storescp(tmp_path / "peer", "--ignore", "--fork") as peer,
        adapter_for(dicom_target(peer.port, associations=3)) as adapter,
    ):
        outcomes = adapter.send(outgoing)
        assert next(outcomes).confirmed
        adapter.close()
        outcomes.close()
    assert not [each for each in threading.enumerate() if each.name == "dicom-lane"]
