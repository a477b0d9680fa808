"""What every adapter promises, whatever its protocol, against real peers."""

import inspect
import json
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from contract.registry import REMOTES
from contract.remotes import Connected, Remote, Secretive, outgoing_of
from crossdock.config.targets import MODELS
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import Outcome
from crossdock.pace import Pace
from crossdock.protocols import ADAPTERS, adapter_for
from crossdock.protocols.base import Adapter
from studies import by_uid, make_ct


def test_every_protocol_has_a_remote_and_settings_of_its_name() -> None:
    assert set(ADAPTERS) == set(REMOTES), "a protocol without a class in REMOTES keeps no promise"
    assert set(ADAPTERS) == set(MODELS)
    assert list(ADAPTERS) == sorted(ADAPTERS)
    assert list(REMOTES) == sorted(REMOTES)


def test_no_remote_gets_out_of_a_promise(remote: Remote) -> None:
    settings = remote.target()
    if any(field in type(settings).model_fields for field in ("host", "url", "endpoint")):
        assert isinstance(remote, Connected)
    if '"Secret"' in json.dumps(type(settings).model_json_schema()):
        assert isinstance(remote, Secretive)
        assert remote.secrets


def test_every_adapter_is_made_of_its_settings_alone() -> None:
    for adapter in ADAPTERS.values():
        assert issubclass(adapter, Adapter)
        assert len(inspect.signature(adapter).parameters) == 1


def test_a_check_of_a_peer_that_works_is_green_in_every_stage(remote: Remote) -> None:
    with adapter_for(remote.target()) as adapter:
        report = adapter.check()
    assert report.green
    assert {stage.state for stage in report.stages if stage.name != "ping"} == {"ok"}
    assert all(stage.detail and stage.milliseconds > 0 for stage in report.stages)


@pytest.mark.parametrize("fault", ["absent", "misnamed"])
def test_a_check_of_a_peer_that_does_not_is_red_with_advice(remote: Remote, fault: str) -> None:
    with adapter_for(getattr(remote, fault)()) as adapter:
        report = adapter.check()
    assert not report.green
    failed = [stage for stage in report.stages if stage.state == "failed"]
    assert len(failed) == 1
    assert failed[0].detail
    assert failed[0].advice
    after = report.stages[report.stages.index(failed[0]) + 1 :]
    assert all(stage.state == "skipped" for stage in after)


def test_a_check_leaves_nothing_behind(remote: Remote) -> None:
    with adapter_for(remote.target()) as adapter:
        adapter.check()
        adapter.check()
    assert remote.files() == []


def test_an_instance_arrives_with_the_same_bytes(remote: Remote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 1)
    with adapter_for(remote.target()) as adapter:
        (outcome,) = adapter.send(outgoing_of(paths))
    assert outcome.outcome is Outcome.DELIVERED
    assert remote.received() == by_uid(paths)


def test_fifty_instances_have_one_outcome_each_in_order(remote: Remote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 50)
    outgoing = outgoing_of(paths)
    with adapter_for(remote.target()) as adapter:
        outcomes = list(adapter.send(iter(outgoing)))
        adapter.finish(outgoing)
    assert [outcome.number for outcome in outcomes] == list(range(1, 51))
    assert [outcome.sop_instance_uid for outcome in outcomes] == [
        each.instance.sop_instance_uid for each in outgoing
    ]
    assert remote.received() == by_uid(paths)


def test_a_thousand_instances_have_one_outcome_each_in_order(
    remote: Remote, thousand: list[Path]
) -> None:
    outgoing = outgoing_of(thousand)
    with adapter_for(remote.target()) as adapter:
        outcomes = list(adapter.send(iter(outgoing)))
        adapter.finish(outgoing)
    assert [outcome.number for outcome in outcomes] == list(range(1, 1001))
    assert all(outcome.outcome is Outcome.DELIVERED for outcome in outcomes)
    assert len(remote.files()) >= 1000


def test_sending_twice_ends_in_the_same_remote_state(remote: Remote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 3)
    for _ in range(2):
        outgoing = outgoing_of(paths)
        with adapter_for(remote.target()) as adapter:
            assert all(outcome.confirmed for outcome in adapter.send(outgoing))
            adapter.finish(outgoing)
            adapter.finish(outgoing)
    assert remote.received() == by_uid(paths)


def test_one_adapter_sends_one_delivery_after_another(remote: Remote, tmp_path: Path) -> None:
    first, second = make_ct(tmp_path / "first", 2), make_ct(tmp_path / "second", 2)
    with adapter_for(remote.target()) as adapter:
        assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(first)))
        assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(second)[:2]))
    assert set(by_uid(first)) < set(remote.received())


def test_sending_nothing_needs_no_peer(remote: Remote) -> None:
    with adapter_for(remote.absent()) as adapter:
        assert list(adapter.send([])) == []


def test_a_peer_that_is_not_there_is_unreachable_for_now(remote: Remote, tmp_path: Path) -> None:
    with (
        adapter_for(remote.absent()) as adapter,
        pytest.raises(DeliveryError) as raised,
    ):
        list(adapter.send(outgoing_of(make_ct(tmp_path / "ct", 2))))
    assert raised.value.kind is ErrorKind.UNREACHABLE
    assert raised.value.temporary
    assert raised.value.detail


def test_wrong_settings_are_misconfigured_until_somebody_mends_them(
    remote: Remote, tmp_path: Path
) -> None:
    with (
        adapter_for(remote.misnamed()) as adapter,
        pytest.raises(DeliveryError) as raised,
    ):
        list(adapter.send(outgoing_of(make_ct(tmp_path / "ct", 1))))
    assert raised.value.kind is ErrorKind.MISCONFIGURED
    assert not raised.value.temporary


def test_of_three_instances_the_refused_one_is_named(remote: Remote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 3))
    with adapter_for(remote.refusing(outgoing[1])) as adapter:
        outcomes = list(adapter.send(outgoing))
    assert [outcome.outcome for outcome in outcomes] == [
        Outcome.DELIVERED,
        Outcome.REFUSED,
        Outcome.DELIVERED,
    ]
    assert outcomes[1].sop_instance_uid == outgoing[1].instance.sop_instance_uid
    assert outcomes[1].status
    assert outcomes[1].detail


def test_a_peer_that_goes_away_midway_confirms_what_it_had_and_no_more(
    remote: Remote, tmp_path: Path
) -> None:
    target, after_each = remote.breaking(after=2)
    confirmed: list[int] = []

    def send() -> None:
        with adapter_for(target) as adapter:
            for outcome in adapter.send(outgoing_of(make_ct(tmp_path / "ct", 40))):
                confirmed.append(outcome.number)
                after_each(outcome.number)

    with pytest.raises(DeliveryError) as raised:
        send()
    assert raised.value.kind is ErrorKind.UNREACHABLE
    assert raised.value.temporary
    assert confirmed == list(range(1, len(confirmed) + 1))
    assert 2 <= len(confirmed) < 40  # more than two where several were under way


def test_an_instance_whose_file_is_damaged_is_not_sent_and_others_are(
    remote: Remote, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 4)
    outgoing = outgoing_of(paths)
    paths[1].write_bytes(b"no DICOM at all")
    paths[2].unlink()
    with adapter_for(remote.target()) as adapter:
        outcomes = list(adapter.send(outgoing))
    assert [outcome.outcome for outcome in outcomes] == [
        Outcome.DELIVERED,
        Outcome.NOT_SENT,
        Outcome.NOT_SENT,
        Outcome.DELIVERED,
    ]
    assert "spool" in outcomes[1].detail


def test_stopping_in_the_middle_closes_cleanly(remote: Remote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 5)
    with adapter_for(remote.target()) as adapter:
        first = list(islice(adapter.send(outgoing_of(paths)), 2))
    assert [outcome.outcome for outcome in first] == [Outcome.DELIVERED] * 2
    assert set(by_uid(paths[:2])) <= set(remote.received())


def test_closing_twice_is_fine(remote: Remote) -> None:
    adapter = adapter_for(remote.target())
    adapter.close()
    adapter.check()
    adapter.close()
    adapter.close()


def test_deliveries_at_the_same_time_keep_to_the_bandwidth_together(
    remote: Remote, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 4, size=400_000)
    target = remote.target(bandwidth="8 Mbit/s", concurrency=2)
    pace = Pace(target.bytes_per_second)

    def deliver(part: list[Path]) -> list[Outcome]:
        with adapter_for(target, pace) as adapter:
            return [each.outcome for each in adapter.send(outgoing_of(part))]

    began = time.monotonic()
    with ThreadPoolExecutor() as threads:
        outcomes = list(threads.map(deliver, [paths[:2], paths[2:]]))
    assert time.monotonic() - began >= 0.9 * 1.6
    assert outcomes == [[Outcome.DELIVERED] * 2] * 2
    assert remote.received() == by_uid(paths)
