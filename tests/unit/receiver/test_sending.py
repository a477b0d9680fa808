"""Parcels that a person sends: elsewhere, again, or instead; also with a router that dies at it."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crossdock.bus import Bus, connect
from crossdock.bus.topology import LEDGER, deliveries
from crossdock.messages import (
    BatchFinished,
    BatchRequested,
    DeliveryDiscardRequested,
    DeliveryFinished,
    DeliveryMoveRequested,
    DeliveryRetryRequested,
    DeliveryRouted,
    Message,
    ParcelRouted,
    ParcelSendRequested,
)
from crossdock.model import DeliveryState, InstanceOutcome, Outcome, delivery_id
from crossdock.spool import StoredParcel
from receiver import requests
from unit.receiver.test_router import Bench


COUNT = 3


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with connect(f"memory://{uuid.uuid4().hex}") as bus:
        yield routing_to_a(tmp_path, bus)


def routing_to_a(directory: Path, bus: Bus) -> Bench:
    bench = Bench(directory, bus)
    bench.configure({"targets": ["a"]})
    return bench


def routed(bench: Bench) -> StoredParcel:
    stored = bench.parcel(COUNT)
    bench.route(stored)
    return stored


def confirm(stored: StoredParcel, target: str, *numbers: int) -> None:
    """Let a target take some instances of a pending delivery."""
    claim = stored.claim(target)
    assert claim is not None
    for number in numbers:
        outcome = InstanceOutcome(number=number, sop_instance_uid="1", outcome=Outcome.DELIVERED)
        claim.note(outcome=outcome.model_dump(mode="json"))
    claim.release()


def conclude(bench: Bench, stored: StoredParcel, target: str, state: DeliveryState) -> None:
    """End a pending delivery as a dispatcher does."""
    claim = stored.claim(target)
    assert claim is not None
    stored.conclude(claim, state)
    stored.retire(bench.spool.retired)


def delivered(bench: Bench) -> StoredParcel:
    """A parcel that its target a has, and that is kept for its time only."""
    stored = routed(bench)
    confirm(stored, "a", 1, 2, 3)
    conclude(bench, stored, "a", DeliveryState.DELIVERED)
    (retired,) = bench.spool.all_retired()
    return retired


def send(parcel: str, target: str, *instances: int) -> ParcelSendRequested:
    return ParcelSendRequested(
        parcel=parcel, target=target, protocol="folder", revision=9, instances=instances or None
    )


def move(stored: StoredParcel, target: str, to: str) -> DeliveryMoveRequested:
    return DeliveryMoveRequested(
        delivery=delivery_id(stored.id, target), target=to, protocol="folder", revision=9
    )


def live(bench: Bench, stored: StoredParcel) -> StoredParcel:
    found = bench.spool.find(stored.id)
    assert found is not None
    return found


def told(bench: Bench, kind: type[Message]) -> list[Message]:
    return [each for each in bench.taken(LEDGER) if isinstance(each, kind)]


def test_a_delivered_parcel_is_sent_again_whole_while_it_is_retained(bench: Bench) -> None:
    stored = delivered(bench)
    bench.taken(LEDGER)
    assert bench.respond(send(stored.id, "a")).done
    again = live(bench, stored)
    assert (again.targets("pending"), again.targets("done")) == (["a"], [])
    record = again.record("a")
    assert record.outcomes == {}
    assert record.routed.again_at > 0
    (fact,) = told(bench, DeliveryRouted)
    assert isinstance(fact, DeliveryRouted)
    assert (fact.again_at, fact.instances) == (record.routed.again_at, COUNT)
    assert bench.respond(send(stored.id, "a")).done, "asked twice, it is sent once"
    conclude(bench, again, "a", DeliveryState.DELIVERED)
    assert bench.respond(send(stored.id, "a")).done
    assert live(bench, stored).record("a").routed.again_at > record.routed.again_at


def test_a_parcel_is_sent_to_a_target_that_no_rule_named(bench: Bench) -> None:
    stored = delivered(bench)
    assert bench.respond(send(stored.id, "b", 2)).done
    again = live(bench, stored)
    assert (again.targets("pending"), again.targets("done")) == (["b"], ["a"])
    assert again.record("b").routed.instances == (2,)
    assert again.record("b").routed.again_at == 0
    assert bench.respond(send(stored.id, "b", 3)).done, "what waits already gets more"
    assert again.record("b").routed.instances == (2, 3)
    assert bench.respond(send(stored.id, "b")).done
    assert again.record("b").routed.instances is None


def test_a_parcel_that_nobody_wanted_is_sent_by_hand(bench: Bench) -> None:
    bench.configure()
    stored = bench.parcel(COUNT)
    bench.route(stored)
    assert bench.spool.find(stored.id) is None
    assert bench.respond(send(stored.id, "b")).done
    assert live(bench, stored).targets("pending") == ["b"]
    (fact,) = told(bench, ParcelRouted)
    assert isinstance(fact, ParcelRouted)
    assert fact.targets == ("b",)


def test_what_cannot_be_sent_is_refused_with_the_reason(bench: Bench) -> None:
    unrouted = bench.parcel(COUNT)
    assert "not evaluated" in bench.respond(send(unrouted.id, "b")).detail
    assert unrouted.targets("pending") == []
    stored = routed(bench)
    assert "no instance 7" in bench.respond(send(stored.id, "b", 1, 7)).detail
    assert "not in the spool" in bench.respond(send("0" * 26, "b")).detail
    assert "there already" in bench.respond(move(stored, "a", "a")).detail
    assert "no such" in bench.respond(move(stored, "b", "a")).detail
    claim = stored.claim("a")
    assert claim is not None
    for wish in (send(stored.id, "a"), move(stored, "a", "b")):
        assert "right now" in bench.respond(wish).detail
    claim.release()
    assert stored.targets("pending") == ["a"]
    half = delivered(bench)
    (half.path / "2.dcm").unlink()
    assert "being deleted" in bench.respond(send(half.id, "b")).detail


def test_a_moved_delivery_takes_along_only_what_is_missing(bench: Bench) -> None:
    stored = routed(bench)
    confirm(stored, "a", 2)
    bench.taken(LEDGER)
    assert bench.respond(move(stored, "a", "b")).done
    assert (stored.targets("pending"), stored.targets("done")) == (["b"], ["a"])
    assert stored.record("b").routed.instances == (1, 3)
    assert len(bench.taken(deliveries("b"))) == 1
    (end,) = told(bench, DeliveryFinished)
    assert isinstance(end, DeliveryFinished)
    assert (end.state, end.reason, end.missing) == (DeliveryState.DISCARDED, "moved to b", 2)


def test_a_delivery_is_moved_to_a_target_that_has_one_of_the_parcel_already(bench: Bench) -> None:
    bench.configure(
        {"when": "InstanceNumber < 3", "targets": ["a"]},
        {"when": "InstanceNumber == 3", "targets": ["b"]},
    )
    stored = routed(bench)
    confirm(stored, "b", 3)
    conclude(bench, stored, "b", DeliveryState.HELD)
    assert bench.respond(move(stored, "a", "b")).done
    assert (stored.targets("pending"), stored.targets("held")) == (["b"], [])
    record = stored.record("b")
    assert record.routed.instances is None
    assert record.confirmed(3), "what it has is not sent again"


def test_a_held_delivery_is_moved_and_the_parcel_is_retired_in_the_end(bench: Bench) -> None:
    stored = routed(bench)
    conclude(bench, stored, "a", DeliveryState.HELD)
    assert bench.respond(move(stored, "a", "b")).done
    assert (stored.targets("pending"), stored.targets("held")) == (["b"], [])
    conclude(bench, stored, "b", DeliveryState.DELIVERED)
    assert [each.id for each in bench.spool.all_retired()] == [stored.id]


def test_a_parcel_that_is_to_be_sent_again_is_not_deleted_meanwhile(bench: Bench) -> None:
    stored = delivered(bench)
    (stored.path / "pending").mkdir()
    (stored.path / "pending/a").touch()
    assert not bench.spool.delete_retired(stored.id)
    assert stored.path.exists()


def test_what_a_killed_writer_left_behind_does_not_keep_a_parcel_from_retiring(
    bench: Bench,
) -> None:
    stored = routed(bench)
    (stored.path / "pending/.a.4711").touch()
    conclude(bench, stored, "a", DeliveryState.DELIVERED)
    assert [each.id for each in bench.spool.all_retired()] == [stored.id]


def test_a_batch_is_answered_one_by_one_for_as_long_as_there_is_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = routed(bench), routed(bench)
    wishes = (
        DeliveryRetryRequested(delivery=delivery_id(first.id, "a")),
        DeliveryRetryRequested(delivery="nothing-here"),
        move(second, "a", "b"),
        DeliveryDiscardRequested(delivery=delivery_id(first.id, "a"), reason="enough"),
    )
    answer = bench.requests.answer(BatchRequested(requests=wishes))
    assert isinstance(answer, BatchFinished)
    assert [each.done for each in answer.answers] == [True, False, True, True]
    monkeypatch.setattr(requests, "BATCH_SECONDS", 0.0)
    short = bench.requests.answer(BatchRequested(requests=wishes))
    assert isinstance(short, BatchFinished)
    assert len(short.answers) == 1


class Killed(BaseException):
    """The router is gone; the kernel gives its locks back."""


class Fuse:
    """Kills before one of the steps that others can see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bus: Bus) -> None:
        self.left: int | None = None
        for owner, name in (
            (Path, "rename"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (Path, "rmdir"),
            (os, "write"),
            (os, "fsync"),
            (bus, "send"),
        ):
            monkeypatch.setattr(owner, name, self._before(getattr(owner, name)))

    def _before(self, step: Callable[..., object]) -> Callable[..., object]:
        def burning(*arguments: object, **options: object) -> object:
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    self.left = None
                    raise Killed
            return step(*arguments, **options)

        return burning


def resend_delivered(bench: Bench) -> tuple[StoredParcel, Message, set[int]]:
    stored = delivered(bench)
    return stored, send(stored.id, "a"), set()


def send_unwanted(bench: Bench) -> tuple[StoredParcel, Message, set[int]]:
    bench.configure()
    stored = bench.parcel(COUNT)
    bench.route(stored)
    return stored, send(stored.id, "a"), {1, 2, 3}


def resend_held(bench: Bench) -> tuple[StoredParcel, Message, set[int]]:
    stored = routed(bench)
    confirm(stored, "a", 1)
    conclude(bench, stored, "a", DeliveryState.HELD)
    return stored, send(stored.id, "a"), {2, 3}


def move_waiting(bench: Bench) -> tuple[StoredParcel, Message, set[int]]:
    stored = routed(bench)
    confirm(stored, "a", 1)
    return stored, move(stored, "a", "b"), {2, 3}


def move_held(bench: Bench) -> tuple[StoredParcel, Message, set[int]]:
    stored = routed(bench)
    conclude(bench, stored, "a", DeliveryState.HELD)
    return stored, move(stored, "a", "b"), {1, 2, 3}


def move_to_one_that_waits(bench: Bench) -> tuple[StoredParcel, Message, set[int]]:
    bench.configure(
        {"when": "InstanceNumber < 3", "targets": ["a"]},
        {"when": "InstanceNumber == 3", "targets": ["b"]},
    )
    stored = routed(bench)
    return stored, move(stored, "a", "b"), {1, 2, 3}


def owed(bench: Bench, stored: StoredParcel) -> set[int]:
    """What is on its way to somebody, or waits for a person."""
    if bench.spool.find_held(stored.id):
        return {1, 2, 3}
    place = bench.spool.locate(stored.id)
    assert place is not None, "the parcel is lost"
    found: set[int] = set()
    for state in ("pending", "held"):
        for target in place.targets(state):
            record = place.record(target, state)
            wanted = record.routed.instances or (1, 2, 3)
            found |= {number for number in wanted if not record.confirmed(number)}
    return found


@pytest.mark.parametrize(
    "prepare",
    [
        resend_delivered,
        send_unwanted,
        resend_held,
        move_waiting,
        move_held,
        move_to_one_that_waits,
    ],
)
def test_wherever_the_router_dies_nothing_is_lost_and_asking_again_finishes_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Bench], tuple[StoredParcel, Message, set[int]]],
) -> None:
    with connect(f"memory://{uuid.uuid4().hex}") as bus:
        fuse = Fuse(monkeypatch, bus)
        for steps in range(100):
            bench = routing_to_a(tmp_path / str(steps), bus)
            stored, wish, missing = prepare(bench)
            fuse.left = steps
            try:
                assert bench.respond(wish).done
                finished = fuse.left is not None
            except Killed:
                finished = False
            fuse.left = None
            assert owed(bench, stored) >= missing, f"lost after {steps} steps"
            held = bench.spool.find_held(stored.id)
            assert held is None or not held.routed or held.targets("pending"), "routed to nobody"
            bench.reconciler.run(grace=0.0)
            assert owed(bench, stored) >= missing, f"lost after {steps} steps"
            answer = bench.respond(wish)
            assert answer.done or "no such" in answer.detail, answer.detail
            place = live(bench, stored)
            (target,) = place.targets("pending")
            assert target == getattr(wish, "target", None)
            assert place.targets("held") == []
            conclude(bench, place, target, DeliveryState.DELIVERED)
            assert [each.id for each in bench.spool.all_retired()] == [stored.id]
            if finished:
                assert steps > 5
                return
        raise AssertionError("it never ends")
