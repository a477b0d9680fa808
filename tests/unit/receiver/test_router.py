"""The router and its reconciler, on a real spool and a real bus."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossdock.bus import Bus, Retry, connect
from crossdock.bus.topology import LEDGER, PARCELS, deliveries
from crossdock.config import Gateway, parse_gateway
from crossdock.messages import (
    DeliveryDiscardRequested,
    DeliveryFinished,
    DeliveryRetryRequested,
    DeliveryRouted,
    Message,
    ParcelDiscardRequested,
    ParcelHeld,
    ParcelReceived,
    ParcelRouted,
    ParcelRouteRequested,
    RequestFinished,
)
from crossdock.model import DeliveryState, Priority, delivery_id
from crossdock.spool import Spool, StoredParcel
from parcels import make_spool, store_parcel
from receiver.facts import parcel_received
from receiver.reconcile import Reconciler
from receiver.requests import Requests
from receiver.router import Router
from studies import make_ct
from waiting import until


class Bench:
    """A spool, a bus whose every message is kept, and what works on them."""

    def __init__(self, directory: Path, bus: Bus) -> None:
        self.directory = directory
        self.bus = bus
        self.spool: Spool = make_spool(directory / "spool")
        self.router = Router(self.spool, bus)
        self.reconciler = Reconciler(self.spool, bus, self.router.queue_of)
        self.requests = Requests(self.spool, bus)

    def configure(self, *rules: dict[str, object]) -> None:
        self.router.configure(gateway(*rules), 7)

    def parcel(self, count: int = 3) -> StoredParcel:
        return store_parcel(self.spool, make_ct(self.directory / uuid.uuid4().hex, count))

    def route(self, stored: StoredParcel) -> None:
        self.router.handle(parcel_received(stored.parcel))

    def taken(self, queue: str) -> list[Message]:
        """Take what is in a queue now."""
        depth = self.bus.depth(queue)
        found: list[Message] = []
        consumer = self.bus.consume(queue, found.append)
        until(lambda: len(found) >= depth, what=f"{depth} messages of {queue}")
        consumer.close()
        return found

    def respond(self, message: Message) -> RequestFinished:
        return self.requests.respond(message)


def gateway(*rules: dict[str, object]) -> Gateway:
    targets = [{"name": name, "type": "folder", "path": "/nowhere"} for name in ("a", "b")]
    named = [{"name": f"r{index}", **rule} for index, rule in enumerate(rules)]
    return parse_gateway({"targets": targets, "rules": named})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with connect(f"memory://{uuid.uuid4().hex}") as bus:
        yield Bench(tmp_path, bus)


def test_a_parcel_gets_a_marker_and_a_message_for_each_target(bench: Bench) -> None:
    bench.configure({"targets": ["a"]}, {"when": 'Modality == "CT"', "targets": ["a", "b"]})
    stored = bench.parcel()
    bench.route(stored)
    assert stored.targets("pending") == ["a", "b"]
    assert stored.record("a").routed.rules == ("r0", "r1")
    assert stored.record("b").routed.rules == ("r1",)
    (message,) = bench.taken(deliveries("a"))
    assert isinstance(message, DeliveryRouted)
    assert (message.parcel, message.instances, message.revision) == (stored.id, 3, 7)
    kinds = [type(each) for each in bench.taken(LEDGER)]
    assert kinds == [ParcelRouted, DeliveryRouted, DeliveryRouted]


def test_a_delivery_goes_by_the_queue_of_its_priority_and_its_marker_knows_it(
    bench: Bench,
) -> None:
    bench.configure({"targets": ["a"], "priority": "urgent"}, {"targets": ["b"]})
    stored = bench.parcel()
    bench.route(stored)
    assert stored.record("a").routed.priority is Priority.URGENT
    assert stored.record("b").routed.priority is Priority.NORMAL
    assert bench.bus.depth(deliveries("a")) == 0
    (message,) = bench.taken(deliveries("a", Priority.URGENT))
    assert isinstance(message, DeliveryRouted)
    assert message.priority is Priority.URGENT
    bench.reconciler.run(grace=0.0)
    assert bench.bus.depth(deliveries("a", Priority.URGENT)) == 1, "it was lost"
    assert bench.bus.depth(deliveries("a")) == 0


def test_what_is_urgent_by_no_rule_any_longer_does_not_wait_where_nobody_listens(
    bench: Bench,
) -> None:
    bench.configure({"targets": ["a"], "priority": "urgent"})
    stored = bench.parcel()
    bench.route(stored)
    bench.configure({"targets": ["a"]})
    bench.reconciler.run(grace=0.0)
    (message,) = bench.taken(deliveries("a"))
    assert isinstance(message, DeliveryRouted)
    assert message.parcel == stored.id


def test_a_parcel_that_comes_twice_is_routed_once(bench: Bench) -> None:
    bench.configure({"targets": ["a"]})
    stored = bench.parcel()
    bench.route(stored)
    bench.configure({"targets": ["b"]})
    bench.route(stored)
    assert stored.targets("pending") == ["a"]


def test_before_the_first_configuration_a_parcel_waits(bench: Bench) -> None:
    stored = bench.parcel()
    with pytest.raises(Retry):
        bench.route(stored)
    assert not stored.routed


def test_the_part_that_nobody_wants_is_held_and_the_rest_is_routed(bench: Bench) -> None:
    bench.configure({"when": "InstanceNumber > 1", "targets": ["a"]})
    stored = bench.parcel(3)
    bench.route(stored)
    assert stored.record("a").routed.instances == (2, 3)
    (part,) = bench.spool.all_held()
    assert [each.number for each in part.parcel.instances] == [1]
    whole = stored.parcel.instances[0]
    assert part.file(part.parcel.instances[0]).samefile(stored.file(whole))
    (held,) = [each for each in bench.taken(LEDGER) if isinstance(each, ParcelHeld)]
    assert (held.parcel, held.split_from, held.instances) == (part.id, stored.id, 1)
    bench.route(stored)
    assert len(list(bench.spool.all_held())) == 1


def test_a_held_parcel_is_routed_again_by_the_rules_of_now(bench: Bench) -> None:
    bench.configure()
    stored = bench.parcel()
    bench.route(stored)
    assert bench.spool.find(stored.id) is None
    assert "no enabled rule" in StoredParcel(bench.spool.held / stored.id).note()
    bench.configure({"targets": ["a"]})
    assert bench.respond(ParcelRouteRequested(parcel=stored.id)).done
    (message,) = bench.taken(PARCELS)
    bench.router.handle(message)
    assert stored.targets("pending") == ["a"]
    assert not bench.respond(ParcelRouteRequested(parcel=stored.id)).done


def test_a_held_parcel_that_is_given_up_is_retired_not_deleted(bench: Bench) -> None:
    bench.configure()
    stored = bench.parcel()
    bench.route(stored)
    assert bench.respond(ParcelDiscardRequested(parcel=stored.id, reason="a test")).done
    assert [each.id for each in bench.spool.all_retired()] == [stored.id]


def test_a_delivery_to_a_target_that_is_not_there_is_held(bench: Bench) -> None:
    bench.configure({"targets": ["b"]})
    stored = bench.parcel()
    without_b = gateway().model_copy(update={"targets": ()})
    rules = gateway({"targets": ["b"]}).rules
    bench.router.configure(without_b.model_copy(update={"rules": rules}), 8)
    bench.route(stored)
    assert stored.targets("held") == ["b"]
    finished = [each for each in bench.taken(LEDGER) if isinstance(each, DeliveryFinished)]
    assert [each.state for each in finished] == [DeliveryState.HELD]


def test_retry_and_discard_say_what_they_did_or_why_not(bench: Bench) -> None:
    bench.configure({"targets": ["a"]})
    stored = bench.parcel()
    bench.route(stored)
    delivery = delivery_id(stored.id, "a")
    bench.taken(deliveries("a"))
    assert bench.respond(DeliveryRetryRequested(delivery=delivery)).done
    assert len(bench.taken(deliveries("a"))) == 1
    claim = stored.claim("a")
    assert claim is not None
    in_work = bench.respond(DeliveryRetryRequested(delivery=delivery))
    assert not in_work.done
    assert "right now" in in_work.detail
    claim.release()
    assert bench.respond(DeliveryDiscardRequested(delivery=delivery, reason="wrong")).done
    assert [each.id for each in bench.spool.all_retired()] == [stored.id]
    assert not bench.respond(DeliveryRetryRequested(delivery=delivery)).done
    assert not bench.respond(DeliveryRetryRequested(delivery="nonsense")).done


def test_a_parcel_whose_message_was_lost_is_announced_again_and_only_then(bench: Bench) -> None:
    stored = bench.parcel()
    bench.reconciler.run(grace=0.0)
    (message,) = bench.taken(PARCELS)
    assert isinstance(message, ParcelReceived)
    assert message.parcel == stored.id
    bench.bus.send(PARCELS, message)
    bench.reconciler.run(grace=0.0)
    assert bench.bus.depth(PARCELS) == 1, "it is in the queue, so it is not queued again"


def test_a_parcel_of_a_dead_receiver_is_closed_and_announced_in_one_go(bench: Bench) -> None:
    stored = bench.parcel()
    (stored.path / "parcel.json").unlink()
    stored.path.rename(bench.spool.opened / stored.id)
    bench.reconciler.run(grace=3600.0)
    (message,) = bench.taken(PARCELS)
    assert isinstance(message, ParcelReceived)
    assert message.parcel == stored.id


def test_a_delivery_whose_message_was_lost_is_scheduled_again_unless_in_work_or_early(
    bench: Bench,
) -> None:
    bench.configure({"targets": ["a"]})
    stored = bench.parcel()
    bench.route(stored)
    bench.bus.delete(deliveries("a"))
    claim = stored.claim("a")
    assert claim is not None
    bench.reconciler.run(grace=0.0)
    assert bench.bus.depth(deliveries("a")) == 0, "somebody works at it"
    claim.note(failed={"kind": "unreachable", "next_try": 4e9, "counts": False})
    claim.release()
    bench.reconciler.run(grace=0.0)
    assert bench.bus.depth(deliveries("a")) == 0, "its time has not come"
    assert bench.respond(DeliveryRetryRequested(delivery=delivery_id(stored.id, "a"))).done
    bench.bus.delete(deliveries("a"))
    bench.bus.delete(LEDGER)
    bench.reconciler.run(grace=0.0)
    (message,) = bench.taken(deliveries("a"))
    assert isinstance(message, DeliveryRouted)
    assert bench.taken(LEDGER) == [message], "the ledger may have missed it, too"


def test_a_stop_ends_a_pass_where_it_is_and_the_next_finds_what_it_left(bench: Bench) -> None:
    bench.configure({"targets": ["a"]})
    for _ in range(3):
        bench.route(bench.parcel(1))
    bench.taken(deliveries("a"))
    bench.reconciler.stopping.set()
    bench.reconciler.run(grace=0.0)
    assert bench.bus.depth(deliveries("a")) == 0
    Reconciler(bench.spool, bench.bus, bench.router.queue_of).run(grace=0.0)
    assert bench.bus.depth(deliveries("a")) == 3


def test_a_finished_parcel_is_retired(bench: Bench) -> None:
    bench.configure({"targets": ["a"]})
    stored = bench.parcel()
    bench.route(stored)
    claim = stored.claim("a")
    assert claim is not None
    stored.conclude(claim, DeliveryState.DELIVERED)
    bench.reconciler.run(grace=0.0)
    assert [each.id for each in bench.spool.all_retired()] == [stored.id]


def test_a_damaged_parcel_is_left_alone_and_the_others_go_on(bench: Bench) -> None:
    damaged, sound = bench.parcel(), bench.parcel()
    (damaged.path / "parcel.json").write_text("{")
    bench.reconciler.run(grace=0.0)
    (message,) = bench.taken(PARCELS)
    assert isinstance(message, ParcelReceived)
    assert message.parcel == sound.id
    assert damaged.path.exists()


def test_a_parcel_whose_directory_fails_is_left_alone_and_the_others_go_on(bench: Bench) -> None:
    bench.configure({"targets": ["a"]})
    failing, sound = bench.parcel(), bench.parcel()
    bench.route(failing)
    claim = failing.claim("a")
    assert claim is not None
    failing.conclude(claim, DeliveryState.DELIVERED)
    (failing.path / "pending" / ".left").touch()
    bench.taken(PARCELS)
    bench.reconciler.run(grace=0.0)
    (message,) = bench.taken(PARCELS)
    assert isinstance(message, ParcelReceived)
    assert message.parcel == sound.id


def test_what_a_router_left_that_died_while_it_wrote_markers_is_no_marker(bench: Bench) -> None:
    stored = bench.parcel()
    (stored.path / ".pending").mkdir()
    (stored.path / ".pending" / ".a.4711").write_text("{")
    (stored.path / ".pending" / "b").write_text("{")
    bench.configure({"targets": ["a"]})
    bench.route(stored)
    claim = stored.claim("a")
    assert claim is not None
    stored.conclude(claim, DeliveryState.DELIVERED)
    assert stored.retire(bench.spool.retired)


def test_a_delivery_that_is_not_held_is_not_made_up_by_giving_it_up(bench: Bench) -> None:
    bench.configure({"targets": ["a", "b"]})
    stored = bench.parcel()
    bench.route(stored)
    claim = stored.claim("a")
    assert claim is not None
    stored.conclude(claim, DeliveryState.HELD)
    with pytest.raises(FileNotFoundError):
        stored.discard_held("b", "a mistake")
    assert (stored.targets("held"), stored.targets("pending")) == (["a"], ["b"])
