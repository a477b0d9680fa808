"""Targets are checked by the clock, and everybody is told how they stand."""

import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from crossdock.bus import Bus, connect
from crossdock.bus.topology import CHECK_FINISHED, LEDGER, TARGET_CHANGED
from crossdock.config.snapshot import Gateway, parse_gateway
from crossdock.messages import CheckFinished, Message, TargetChanged
from tester.checks import Checks
from tester.clock import Clock
from tester.standing import Standing
from waiting import until


class OneTester:
    """A tester without a process of its own."""

    def __init__(self, bus: Bus, deadline: float = 10.0) -> None:
        self.standing = Standing(bus)
        self.clock = Clock(Checks(deadline), self.standing.tell)
        self.listener = bus.listen(CHECK_FINISHED, self.heard)
        self.clock.start()

    def heard(self, message: Message) -> None:
        self.standing.heard(message)
        self.clock.heard(message)

    def configure(self, *targets: object) -> Gateway:
        gateway = parse_gateway({"targets": list(targets)})
        self.standing.configure(gateway)
        self.clock.configure(gateway)
        return gateway

    def close(self) -> None:
        self.configure()
        self.clock.close()
        self.listener.close()


@pytest.fixture
def tester(bus: Bus) -> Iterator[OneTester]:
    tester = OneTester(bus)
    yield tester
    tester.close()


@pytest.fixture
def facts(bus: Bus) -> list[Message]:
    """What the ledger is told."""
    facts: list[Message] = []
    bus.consume(LEDGER, facts.append)
    return facts


def checks(facts: list[Message], name: str = "research") -> list[CheckFinished]:
    return [f for f in list(facts) if isinstance(f, CheckFinished) and f.target == name]


def changes(facts: list[Message]) -> list[bool]:
    return [fact.green for fact in list(facts) if isinstance(fact, TargetChanged)]


def metric(name: str, target: str = "research", protocol: str = "folder") -> float | None:
    return REGISTRY.get_sample_value(name, {"target": target, "protocol": protocol})


def folder(path: object, **changes: object) -> dict[str, object]:
    return {
        "name": "research",
        "type": "folder",
        "path": str(path),
        "check_seconds": 0.2,
        **changes,
    }


def test_a_target_is_checked_again_and_again_and_its_changes_are_told(
    tester: OneTester, bus: Bus, facts: list[Message], tmp_path
) -> None:
    heard: list[Message] = []
    bus.listen(TARGET_CHANGED, heard.append)
    path = tmp_path / "folder"
    path.mkdir()
    tester.configure(folder(path))
    until(lambda: len(checks(facts)) >= 3)
    assert changes(facts) == [True]
    assert metric("crossdock_target_up") == 1
    path.rmdir()
    until(lambda: len(changes(facts)) >= 2)
    until(lambda: metric("crossdock_target_up") == 0)
    red = [fact for fact in facts if isinstance(fact, TargetChanged)][1]
    assert not red.green
    assert red.reason.startswith("exists: ")
    path.mkdir()
    until(lambda: len(changes(facts)) >= 3)
    assert changes(facts) == [True, False, True]
    until(lambda: len(heard) == 3)
    assert metric("crossdock_check_duration_seconds_count") >= 3
    tester.configure()
    for name in ("crossdock_target_up", "crossdock_check_duration_seconds_count"):
        assert metric(name) is None


def test_a_target_that_changes_is_checked_at_once(
    tester: OneTester, facts: list[Message], tmp_path
) -> None:
    tester.configure(folder(tmp_path, check_seconds=3600))
    until(lambda: checks(facts))
    tester.configure(folder(tmp_path / "nowhere", check_seconds=3600))
    until(lambda: len(checks(facts)) == 2)
    assert changes(facts) == [True, False]


def test_a_target_that_hangs_has_one_check_at_a_time_and_delays_nobody(
    bus: Bus, facts: list[Message], tmp_path, hanging_peer
) -> None:
    tester = OneTester(bus, deadline=0.5)
    tester.configure(folder(tmp_path), {**hanging_peer, "check_seconds": 0.1})
    until(lambda: len(checks(facts, "hanging")) >= 2)
    names = [each.name for each in threading.enumerate()]
    assert names.count("check hanging") <= 1
    assert names.count("clock hanging") <= 1
    assert len(checks(facts)) > 2
    assert metric("crossdock_target_up", "hanging", "dicom") == 0
    tester.close()


def test_several_testers_share_the_checks(
    tester: OneTester, broker: str, facts: list[Message], tmp_path
) -> None:
    with connect(broker) as bus:
        other = OneTester(bus)
        target = folder(tmp_path, check_seconds=1)
        tester.configure(target)
        until(lambda: checks(facts))
        other.configure(target)
        began = time.monotonic()
        until(lambda: len(checks(facts)) >= 6)
        assert time.monotonic() - began > 2.5  # two testers that know nothing would need 2 s
        other.close()
    assert changes(facts).count(True) <= 2
    assert False not in changes(facts)
