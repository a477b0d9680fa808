"""Which queues are consumed, and that a target in trouble is nobody else's."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from contract.remotes import dicom_target, speaking
from crossdock.bus.topology import deliveries
from crossdock.config.snapshot import Gateway
from crossdock.config.targets import Target
from crossdock.errors import ErrorKind
from crossdock.messages import Message
from crossdock.model import DeliveryState
from dispatcher.adapters import Adapters
from dispatcher.consume import Consumers
from dispatcher.delivery import Report
from dispatcher.dispatch import Dispatch, Turn
from dispatcher.retry import Failure, RetryPolicy
from parcels import route
from unit.dispatcher.places import Place
from waiting import until


FAST = RetryPolicy().scaled(0.02)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture
def consumers(place: Place) -> Iterator[Consumers]:
    dispatch = Dispatch(place.spool, place.bus, FAST, place.stopping)
    consumers = Consumers(place.bus, dispatch.handle, ["folder", "dicom"], FAST)
    consumers.start()
    yield consumers
    place.stopping.set()
    consumers.close(5.0)


def gateway(*targets: Target) -> Gateway:
    return Gateway.model_construct(targets=targets)


def send(place: Place, count: int, *targets: str) -> None:
    """Store a parcel of ``count`` instances and send the messages of its deliveries."""
    stored, _ = place.parcel(count, *targets)
    for message in route(stored, *targets):
        place.bus.send(deliveries(message.target), message)


def test_deliveries_run_from_the_moment_that_their_target_is_configured(
    place: Place, consumers: Consumers
) -> None:
    send(place, 2, "research")
    consumers.configure(gateway())
    consumers.configure(gateway(place.target()))
    assert place.ends(1)[0].delivered == 2


@pytest.mark.parametrize("stopped", [{"enabled": False}, {"paused": "its share is moved"}])
def test_a_target_that_a_person_stopped_keeps_its_deliveries_waiting(
    place: Place, consumers: Consumers, stopped: dict[str, object]
) -> None:
    consumers.configure(gateway(place.target(), place.target("other", **stopped)))
    send(place, 1, "research", "other")
    place.ends(1)
    assert place.bus.depth(deliveries("other")) == 1
    consumers.configure(gateway(place.target("other")))
    place.ends(2)
    send(place, 1, "research")
    until(lambda: place.bus.depth(deliveries("research")) == 1)


def test_changed_settings_are_in_force_at_once(place: Place, consumers: Consumers) -> None:
    consumers.configure(gateway(place.target()))
    send(place, 1, "research")
    place.ends(1)
    other = place.directory / "other"
    other.mkdir()
    consumers.configure(gateway(place.target(path=str(other), concurrency=3)))
    until(lambda: not place.bus.depth(deliveries("research")))
    send(place, 1, "research")
    place.ends(2)
    assert len(list(other.rglob("*.dcm"))) == 1


def test_a_hanging_target_and_a_dead_one_delay_no_other(place: Place, consumers: Consumers) -> None:
    with speaking(b"") as port:
        hanging = dicom_target(port, name="hanging", timeout=30)
        dead = place.target("dead", path=str(place.directory / "unmounted"))
        consumers.configure(gateway(hanging, dead, place.target()))
        started = time.monotonic()
        for _ in range(5):
            send(place, 1, "hanging", "dead", "research")
        ends = place.ends(5)
        assert time.monotonic() - started < 15
        assert {end.delivery.partition("-")[2] for end in ends} == {"research"}
        place.stopping.set()


def test_a_dead_target_is_asked_now_and_then_and_not_once_per_delivery(
    place: Place, consumers: Consumers
) -> None:
    away = place.folder.rename(place.directory / "away")
    for _ in range(30):
        send(place, 1, "research")
    consumers.configure(gateway(place.target(concurrency=2)))
    asked = len(place.attempts(6))
    assert asked < 15
    assert {attempt.attempt for attempt in place.attempts(6)} <= set(range(1, 7))
    away.rename(place.folder)
    assert len(place.ends(30)) == 30
    assert len(place.files()) == 30


def test_deliveries_that_fail_together_are_one_setback_and_a_success_ends_the_pause(
    place: Place,
) -> None:
    handled = threading.Semaphore(0)
    seen: Counter[str] = Counter()

    def handle(adapters: Adapters, _message: Message, report: Report, _turn: Turn) -> None:
        seen[adapters.target.name] += 1
        for _ in range(10):
            report(Failure(ErrorKind.TIMEOUT, "no response", temporary=True), again=False)
        report(None, again=False)
        handled.release()

    consumers = Consumers(place.bus, handle, ["folder"], RetryPolicy())
    consumers.start()
    consumers.configure(gateway(place.target()))
    try:
        for _ in range(3):
            send(place, 1, "research")
        for _ in range(3):
            assert handled.acquire(timeout=10)
        assert seen == {"research": 3}
    finally:
        consumers.close(1.0)


def test_a_target_whose_settings_are_mended_is_asked_at_once(place: Place) -> None:
    patient = RetryPolicy()
    dispatch = Dispatch(place.spool, place.bus, patient, place.stopping)
    consumers = Consumers(place.bus, dispatch.handle, ["folder"], patient)
    consumers.start()
    try:
        consumers.configure(gateway(place.target(path=str(place.directory / "wrong"))))
        send(place, 1, "research")
        place.attempts(1)
        send(place, 1, "research")
        consumers.configure(gateway(place.target()))
        assert place.ends(1)[0].state is DeliveryState.DELIVERED
    finally:
        consumers.close(5.0)


def test_pausing_a_target_lets_the_delivery_in_work_end_and_begins_no_other(place: Place) -> None:
    begun, go_on, ended = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)
    in_force = threading.Event()

    def handle(adapters: Adapters, _message: Message, _report: Report, _turn: Turn) -> None:
        if adapters.target.name == "other":
            in_force.set()
            return
        begun.release()
        assert go_on.wait(60)
        ended.release()

    consumers = Consumers(place.bus, handle, ["folder"], RetryPolicy())
    consumers.start()
    try:
        consumers.configure(gateway(place.target()))
        for _ in range(3):
            send(place, 1, "research")
        assert begun.acquire(timeout=10)
        send(place, 1, "other")
        paused = place.target(paused="the share is moved")
        consumers.configure(gateway(paused, place.target("other")))
        assert in_force.wait(60)
        go_on.set()
        assert ended.acquire(timeout=10)
        until(lambda: place.bus.depth(deliveries("research")) == 2, what="the others are back")
        assert not begun.acquire(timeout=0.2)
        consumers.configure(gateway(place.target()))
        assert begun.acquire(timeout=10)
    finally:
        go_on.set()
        consumers.close(5.0)


def test_until_when_a_target_is_left_alone_is_told(place: Place) -> None:
    def told() -> float:
        name = "crossdock_target_paused_until_timestamp_seconds"
        return REGISTRY.get_sample_value(name, {"target": "research"}) or 0.0

    dispatch = Dispatch(place.spool, place.bus, RetryPolicy(), place.stopping)
    consumers = Consumers(place.bus, dispatch.handle, ["folder"], RetryPolicy())
    consumers.start()
    try:
        consumers.configure(gateway(place.target(path=str(place.directory / "wrong"))))
        before = time.time()
        send(place, 1, "research")
        assert before < until(told) <= time.time() + 60
        consumers.configure(gateway(place.target()))
        until(lambda: not told())
    finally:
        consumers.close(5.0)
