"""After a database was lost, the spool tells the ledger what is in it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from config_api.database import Database
from config_api.ledger import Ledger
from config_api.records import Page, Records
from crossdock.bus import Bus, connect
from crossdock.bus.topology import LEDGER
from crossdock.messages import (
    DeliveryDiscardRequested,
    DeliveryFinished,
    Message,
    ParcelDiscarded,
    ParcelDiscardRequested,
)
from crossdock.model import DeliveryState, InstanceOutcome, Outcome, new_id
from crossdock.spool import Spool, StoredParcel
from parcels import make_spool, route, store_parcel
from receiver.requests import Requests
from receiver.retelling import retell
from studies import make_ct
from waiting import until


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


@pytest.fixture
def bus() -> Iterator[Bus]:
    with connect(f"memory://{new_id()}") as bus:
        yield bus


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    database.prepare()
    yield database
    database.close()


def _end(stored: StoredParcel, target: str, state: DeliveryState, reason: str = "") -> None:
    claim = stored.claim(target)
    assert claim is not None
    for each in stored.parcel.instances if state is DeliveryState.DELIVERED else ():
        outcome = InstanceOutcome(
            number=each.number, sop_instance_uid=each.sop_instance_uid, outcome=Outcome.DELIVERED
        )
        claim.note(outcome=outcome.model_dump(mode="json"))
    claim.note(reason=reason)
    stored.conclude(claim, state)


def _tell(spool: Spool, bus: Bus, database: Database) -> tuple[int, Records]:
    """Tell a ledger twice, as it may come twice, and return what it knows."""
    count = retell(spool, bus)
    retell(spool, bus)
    told, heard = bus.depth(LEDGER), list[Message]()
    bus.consume(LEDGER, heard.append)
    until(lambda: len(heard) == told, what="all is heard")
    ledger = Ledger(database, CollectorRegistry())
    for message in heard:
        ledger.record(message)
    return count, Records(database)


def test_the_ledger_knows_again_what_waits_is_held_was_delivered_and_was_given_up(
    spool: Spool, bus: Bus, database: Database, tmp_path: Path
) -> None:
    files = make_ct(tmp_path / "ct", 3)
    stored = store_parcel(spool, files)
    route(stored, "archive", "research", "vault", "web", revision=7)
    _end(stored, "research", DeliveryState.DELIVERED)
    _end(stored, "vault", DeliveryState.HELD, "3 of 3 instances were refused")
    _end(stored, "web", DeliveryState.DISCARDED, "not wanted")
    retired = store_parcel(spool, files)
    route(retired, "archive")
    _end(retired, "archive", DeliveryState.DELIVERED)
    assert retired.retire(spool.retired)

    count, records = _tell(spool, bus, database)
    assert count == 2
    known = {each.id: each for each in records.deliveries(Page())}
    states = {
        name: known[f"{stored.id}-{name}"] for name in ("archive", "research", "vault", "web")
    }
    assert {name: each.state.value for name, each in states.items()} == {
        "archive": "waiting",
        "research": "delivered",
        "vault": "held",
        "web": "discarded",
    }
    assert known[f"{retired.id}-archive"].state is DeliveryState.DELIVERED
    assert (states["research"].delivered, states["vault"].missing) == (3, 3)
    assert states["vault"].reason == "3 of 3 instances were refused"
    assert states["web"].reason == "not wanted"
    assert {each.revision for each in states.values()} == {7}
    assert states["archive"].study_instance_uid == stored.parcel.study_instance_uid
    assert {each.state.value for each in records.parcels(Page())} == {"routed"}


def test_what_ended_at_once_is_not_waiting_by_a_disk_whose_clock_is_behind(
    spool: Spool, bus: Bus, database: Database, tmp_path: Path
) -> None:
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    route(stored, "vault")
    _end(stored, "vault", DeliveryState.HELD, "1 of 1 instances was refused")
    behind = stored.record("vault", "held").routed.at - 0.004
    os.utime(stored.marker("vault", "held"), (behind, behind))
    _, records = _tell(spool, bus, database)
    (delivery,) = records.deliveries(Page())
    assert delivery.state is DeliveryState.HELD


def test_the_ledger_knows_again_what_nobody_wanted_and_why(
    spool: Spool, bus: Bus, database: Database, tmp_path: Path
) -> None:
    files = make_ct(tmp_path / "ct", 3)
    whole, given_up = store_parcel(spool, files), store_parcel(spool, files)
    mixed = store_parcel(spool, files)
    part = spool.hold_part(mixed, {2, 3}, "no rule wanted it")
    route(mixed, "archive", instances=[1])
    spool.hold(whole, "no enabled rule applies")
    spool.discard(spool.hold(given_up, "no enabled rule applies"), "test images")

    count, records = _tell(spool, bus, database)
    assert count == 4
    parcels = {each.id: each for each in records.parcels(Page())}
    assert {name: each.state.value for name, each in parcels.items()} == {
        whole.id: "held",
        given_up.id: "discarded",
        mixed.id: "routed",
        part.id: "held",
    }
    assert parcels[part.id].split_from == mixed.id
    assert parcels[part.id].instances == 2
    assert parcels[whole.id].reason == "no enabled rule applies"
    assert parcels[given_up.id].reason == "test images"


def test_giving_up_what_is_no_more_tells_the_ledger_so_and_of_what_was_delivered_that_it_was(
    spool: Spool, bus: Bus, tmp_path: Path
) -> None:
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 3))
    route(stored, "archive")
    _end(stored, "archive", DeliveryState.DELIVERED)
    assert stored.retire(spool.retired)
    heard: list[Message] = []
    bus.consume(LEDGER, heard.append)
    requests = Requests(spool, bus)

    def ends() -> list[DeliveryFinished]:
        return [each for each in list(heard) if isinstance(each, DeliveryFinished)]

    known = DeliveryDiscardRequested(delivery=f"{stored.id}-archive", reason="stuck")
    answer = requests.respond(known)
    assert (answer.done, answer.gone) == (False, True)
    (end,) = until(ends, what="how it ended")
    assert (end.state, end.gone) == (DeliveryState.DELIVERED, False)

    assert spool.delete_retired(stored.id)
    assert requests.respond(known).gone
    assert not requests.respond(ParcelDiscardRequested(parcel=stored.id, reason="stuck")).done
    until(lambda: any(isinstance(each, ParcelDiscarded) and each.gone for each in list(heard)))
    _, lost = until(lambda: len(ends()) == 2 and ends(), what="that it is lost")
    assert (lost.state, lost.gone) == (DeliveryState.DISCARDED, True)
    assert lost.reason.startswith("discarded: stuck")


def test_the_command_tells_the_ledger_of_this_machine(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "data/spool")
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    route(stored, "archive")
    _end(stored, "archive", DeliveryState.HELD, "refused")
    done = subprocess.run(
        [sys.executable, "-m", "crossdock.cli.main", "spool", "reconcile", "--ledger"],
        env={**os.environ, "CROSSDOCK_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "the ledger was told of 1 parcels, and of their deliveries\n"
    heard: list[Message] = []
    with connect(f"filesystem://{tmp_path / 'data/broker'}") as bus:
        bus.consume(LEDGER, heard.append)
        until(lambda: len(heard) == 4, what="received, routed, the delivery, its end")
    assert isinstance(heard[-1], DeliveryFinished)
