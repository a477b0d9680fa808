"""The script of an rsync target runs once for a finished delivery, whatever happens around it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.remotes_ssh import RsyncRemote
from crossdock import traces
from crossdock.bus import Retry
from crossdock.messages import DeliveryFinished
from crossdock.model import DeliveryState, trace_id
from servers.collector import collector
from studies import by_uid
from unit.dispatcher.places import Place


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RsyncRemote]:
    with RsyncRemote(tmp_path) as remote:
        yield remote


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "place")
    yield place
    place.close()


def script(remote: RsyncRemote, rest: str) -> Path:
    """Put a script there that counts how often it runs; return where it counts."""
    path = remote.path / "mercure_complete.sh"
    path.write_text(f'#!/bin/sh\necho ran >> "$(dirname "$0")/ran"\n{rest}\n')
    path.chmod(0o755)
    return remote.path / "ran"


def ran(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def the_end(place: Place) -> DeliveryFinished:
    (end,) = place.ends(1)
    return end


def test_it_runs_once_and_what_came_of_it_is_in_the_ledger(
    remote: RsyncRemote, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = script(remote, "echo thanks")
    stored, message = place.parcel(3)
    target = remote.target(name="research", run_on_complete=True)
    with collector() as spans:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
        end = traces.begin("dispatcher")
        place.dispatch()(target, message)
        place.dispatch()(target, message)  # the message comes twice
        end()
    assert [each.name for each in spans.seen] == ["script", "attempt"]
    assert {each.trace for each in spans.seen} == {trace_id(stored.id)}
    assert the_end(place).state is DeliveryState.DELIVERED
    assert the_end(place).remark == "mercure_complete.sh ended with code 0: thanks"
    assert place.attempts(1)[0].detail == the_end(place).remark
    assert ran(counted) == 1


def test_one_that_fails_is_reported_and_neither_it_nor_the_images_come_again(
    remote: RsyncRemote, place: Place
) -> None:
    counted = script(remote, "echo no room >&2; exit 3")
    stored, message = place.parcel(2)
    place.dispatch()(remote.target(name="research", run_on_complete=True), message)
    assert the_end(place).state is DeliveryState.DELIVERED
    assert "failed with code 3" in the_end(place).remark
    assert "no room" in the_end(place).remark
    assert ran(counted) == 1
    assert place.attempts(1)[0].kind == ""
    assert len(by_uid([path for path in remote.files() if path.suffix == ".dcm"])) == 2
    assert stored.claim("research") is None


def test_one_that_a_killed_dispatcher_had_begun_is_not_run_again_and_that_is_said(
    remote: RsyncRemote, place: Place
) -> None:
    counted = script(remote, "true")
    stored, message = place.parcel(2)
    claim = stored.claim("research")
    assert claim is not None
    claim.note(once="begun")  # and then it was killed
    claim.release()
    place.dispatch()(remote.target(name="research", run_on_complete=True), message)
    assert the_end(place).state is DeliveryState.DELIVERED
    assert "may have run" in the_end(place).remark
    assert ran(counted) == 0


def test_it_does_not_run_for_a_delivery_that_did_not_arrive(
    remote: RsyncRemote, place: Place
) -> None:
    counted = script(remote, "true")
    stored, message = place.parcel(1)
    target = remote.target(name="research", run_on_complete=True)
    with pytest.raises(Retry):
        place.dispatch(scale=0.0001)(target.model_copy(update={"path": "/nowhere"}), message)
    assert (stored.record("research").once, ran(counted)) == ("", 0)
    claim = stored.claim("research")
    assert claim is not None
    claim.note(retry=1)  # as a person does
    claim.release()
    place.dispatch()(target, message)
    assert (the_end(place).state, ran(counted)) == (DeliveryState.DELIVERED, 1)
