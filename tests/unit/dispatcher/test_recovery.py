"""What waits for a target that is well again, or that a person wants tried, goes at once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossdock.bus.topology import RETRY, TARGET_CHANGED, deliveries
from crossdock.config.snapshot import Gateway
from crossdock.messages import DeliveryRetryRequested, TargetChanged
from dispatcher.consume import Consumers
from dispatcher.dispatch import Dispatch
from dispatcher.retry import RetryPolicy
from parcels import route
from unit.dispatcher.places import Place


FOR_AN_HOUR = RetryPolicy(first=3600.0, longest=3600.0, pause=3600.0, refused=(3600.0,))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    dispatch = Dispatch(place.spool, place.bus, FOR_AN_HOUR, place.stopping)
    consumers = Consumers(place.bus, dispatch.handle, ["folder"], FOR_AN_HOUR)
    for topic in (TARGET_CHANGED, RETRY):
        place.bus.listen(topic, consumers.heard)
    consumers.configure(Gateway.model_construct(targets=(place.target(), place.target("other"))))
    consumers.start()
    yield place
    place.stopping.set()
    consumers.close(5.0)
    place.close()


def send(place: Place, target: str = "research") -> None:
    stored, _ = place.parcel(1, target)
    for message in route(stored, target):
        place.bus.send(deliveries(target), message)


def say(place: Place, *, green: bool, target: str = "research") -> None:
    message = TargetChanged(target=target, green=green, at=time.time())
    place.bus.broadcast(TARGET_CHANGED, message)


def test_deliveries_that_a_dead_target_kept_waiting_go_as_soon_as_it_is_well(place: Place) -> None:
    away = place.folder.rename(place.directory / "away")
    send(place)
    place.attempts(1)
    for _ in range(4):
        send(place)
    away.rename(place.folder)
    say(place, green=True)
    ends = place.ends(5)
    assert {end.delivered for end in ends} == {1}
    assert len(place.files()) == 5
    assert len(place.attempts(6)) == 6


def test_a_target_that_a_person_wants_tried_is_tried_at_once(place: Place) -> None:
    away = place.folder.rename(place.directory / "away")
    send(place)
    (attempt,) = place.attempts(1)
    away.rename(place.folder)
    place.bus.broadcast(RETRY, DeliveryRetryRequested(delivery=attempt.delivery))
    place.ends(1)


def test_a_target_that_is_red_hastens_nothing_and_another_one_that_is_well_neither(
    place: Place,
) -> None:
    away = place.folder.rename(place.directory / "away")
    send(place)
    place.attempts(1)
    away.rename(place.folder)
    say(place, green=False)
    say(place, green=True, target="other")
    send(place, "other")
    (end,) = place.ends(1)
    assert end.delivery.endswith("-other")
    assert len(place.attempts(2)) == 2


def test_a_delivery_whose_instances_were_refused_waits_for_its_own_time(place: Place) -> None:
    in_the_way = place.folder / "1"
    in_the_way.write_text("no directory")
    send(place)
    (attempt,) = place.attempts(1)
    assert attempt.next_try is not None
    in_the_way.unlink()
    say(place, green=True)
    send(place)
    place.ends(1)
    assert len(place.attempts(2)) == 2
