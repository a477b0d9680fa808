"""The ledger: what events say is kept whatever their order, and can be asked for."""

import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from config_api.database import Database
from config_api.ledger import Ledger
from config_api.records import Page, Records
from config_api.retention import purge
from crossdock.bus import Retry
from crossdock.bus.topology import LEDGER, SPOOL
from crossdock.messages import (
    DeliveryAttempted,
    DeliveryFinished,
    DeliveryRetryRequested,
    DeliveryRouted,
    ParcelDiscarded,
    ParcelHeld,
    ParcelReceived,
    ParcelRouted,
    RequestFinished,
)
from crossdock.model import DeliveryState, InstanceOutcome, Outcome, trace_id
from waiting import until


T = 1_700_000_000.0


def received(parcel, **changes):
    facts = {
        "parcel": parcel,
        "store_node": "main",
        "calling_ae_title": "CT1",
        "address": "10.0.0.1",
        "study_instance_uid": "1.2.3",
        "series_instance_uid": "1.2.3.4",
        "instances": 3,
        "bytes": 3_000_000_000,
        "received_at": T,
        "closed_at": T + 1,
    }
    return ParcelReceived(**(facts | changes))


def routed(parcel, target="archive", at=T + 2, again_at=0.0):
    return DeliveryRouted(
        delivery=f"{parcel}-{target}",
        parcel=parcel,
        target=target,
        protocol="dicom",
        rules=("all",),
        instances=3,
        revision=7,
        at=at,
        again_at=again_at,
    )


def attempted(parcel, number, at, refused=0, target="archive", **changes):
    failures = tuple(
        InstanceOutcome(number=n, sop_instance_uid=f"1.{n}", outcome=Outcome.REFUSED, status="A900")
        for n in range(1, refused + 1)
    )
    facts = {
        "delivery": f"{parcel}-{target}",
        "attempt": number,
        "started_at": at,
        "finished_at": at + 1,
        "delivered": 3 - refused,
        "warnings": 0,
        "refused": refused,
        "not_sent": 0,
        "kind": "refused" if refused else "",
        "detail": "no such class" if refused else "",
        "next_try": at + 60 if refused else None,
        "failures": failures,
    }
    return DeliveryAttempted(**(facts | changes))


def finished(parcel, state, at, missing=0, *, target="archive", reason="", again_at=0.0):
    return DeliveryFinished(
        delivery=f"{parcel}-{target}",
        state=state,
        delivered=3 - missing,
        warnings=0,
        missing=missing,
        reason=reason,
        at=at,
        again_at=again_at,
    )


def run_of(parcel):
    """A run in which deliveries are held, retried by a person, and delivered."""
    return [
        received(parcel),
        ParcelHeld(parcel=parcel, reason="no rule", at=T + 1.5),
        ParcelRouted(parcel=parcel, targets=("archive", "other"), revision=7, at=T + 2),
        routed(parcel),
        attempted(parcel, 1, T + 10, refused=2),
        finished(parcel, DeliveryState.HELD, T + 11, missing=2, reason="refused 2 instances"),
        routed(parcel, at=T + 20),
        attempted(parcel, 2, T + 21),
        finished(parcel, DeliveryState.DELIVERED, T + 22),
        routed(parcel, "other"),
        attempted(parcel, 1, T + 5, refused=1, target="other"),
        finished(parcel, DeliveryState.HELD, T + 6, 1, target="other", reason="refused"),
        ParcelHeld(
            parcel=f"{parcel}b",
            reason="no rule",
            at=T + 3,
            split_from=parcel,
            instances=1,
            bytes=5,
            store_node="main",
            study_instance_uid="1.2.3",
            received_at=T,
            closed_at=T + 1,
        ),
        ParcelDiscarded(parcel=f"{parcel}b", reason="test images", at=T + 9),
    ]


def sent_again(parcel):
    """Deliveries that a person has sent again: held in the second run, waiting in the third."""
    return [
        routed(parcel, "twice"),
        finished(parcel, DeliveryState.DELIVERED, T + 7, target="twice"),
        routed(parcel, "twice", at=T + 30, again_at=T + 30),
        attempted(parcel, 1, T + 31, refused=1, target="twice"),
        finished(parcel, DeliveryState.HELD, T + 5, 1, target="twice", again_at=T + 30),
        routed(parcel, "twice", at=T + 40, again_at=T + 30),
        routed(parcel, "thrice", at=T + 30, again_at=T + 30),
        finished(parcel, DeliveryState.DELIVERED, T + 31, target="thrice", again_at=T + 30),
        routed(parcel, "thrice", at=T + 50, again_at=T + 50),
    ]


def state_of(records, parcel):
    """Everything that can be asked about a parcel, without its own name and what is made of it."""
    answers = [records.parcel(parcel), records.parcel(f"{parcel}b")]
    targets = ("archive", "other", "twice", "thrice")
    answers += [records.delivery(f"{parcel}-{target}") for target in targets]
    told = [answer.model_dump_json() if answer else "" for answer in answers]
    ids = (trace_id(parcel), trace_id(f"{parcel}b"))
    return [each.replace(ids[0], "").replace(ids[1], "").replace(parcel, "P") for each in told]


@pytest.fixture(scope="module")
def shared(request, tmp_path_factory):
    """Both databases at once, for all examples."""
    server = request.getfixturevalue("postgres_server")
    sqlite = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    databases = [Database(f"sqlite:///{sqlite}"), Database(server.database())]
    for database in databases:
        database.prepare()
    yield databases
    for database in databases:
        database.close()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_order_and_repetition_of_events_ends_the_same(shared, data):
    parcel = uuid.uuid4().hex[:26]
    events = run_of(parcel) + sent_again(parcel)
    repeated = data.draw(st.lists(st.integers(0, len(events) - 1), max_size=5))
    order = data.draw(st.permutations([*range(len(events)), *repeated]))
    straight = uuid.uuid4().hex[:26]
    for database in shared:
        ledger, records = Ledger(database, CollectorRegistry()), Records(database)
        for event in run_of(straight) + sent_again(straight):
            ledger.record(event)
        for index in order:
            ledger.record(events[index])
        assert state_of(records, parcel) == state_of(records, straight)


def test_several_config_apis_keep_one_ledger_at_the_same_time(postgres_server):
    url, parcel, straight = postgres_server.database(), uuid.uuid4().hex, uuid.uuid4().hex
    databases = [Database(url) for _ in range(3)]
    for each in databases:
        each.prepare()
    for event in run_of(straight) + sent_again(straight):
        Ledger(databases[0], CollectorRegistry()).record(event)

    def record(number):
        events = run_of(parcel) + sent_again(parcel)
        ledger = Ledger(databases[number], CollectorRegistry())
        for event in events[5 * number :] + events[: 5 * number]:
            ledger.record(event)

    with ThreadPoolExecutor(len(databases)) as pool:
        list(pool.map(record, range(len(databases))))
    records = Records(databases[0])
    assert state_of(records, parcel) == state_of(records, straight)
    for each in databases:
        each.close()


@pytest.fixture
def ledger(database):
    return Ledger(database, CollectorRegistry())


@pytest.fixture
def records(database):
    return Records(database)


def test_a_run_is_told_as_it_was(ledger, records):
    for event in run_of("p"):
        ledger.record(event)
    delivered, held = records.delivery("p-archive"), records.delivery("p-other")
    assert delivered.state == "delivered"
    assert delivered.attempts == len(delivered.history) == 2
    assert delivered.rules == ["all"]
    assert delivered.exceptions == []
    assert delivered.study_instance_uid == "1.2.3"
    assert (held.state, held.reason, held.missing) == ("held", "refused", 1)
    assert [item.status for item in held.exceptions] == ["A900"]
    parcel, part = records.parcel("p"), records.parcel("pb")
    assert (parcel.state, parcel.bytes) == ("routed", 3_000_000_000)
    assert {item.id for item in parcel.deliveries} == {"p-archive", "p-other"}
    assert (part.state, part.reason, part.split_from) == ("discarded", "test images", "p")


def test_a_held_delivery_that_is_tried_again_waits(ledger, records):
    for event in run_of("p")[3:6]:
        ledger.record(event)
    assert records.delivery("p-archive").state == "held"
    ledger.record(attempted("p", 2, T + 30, refused=1))
    waiting = records.delivery("p-archive")
    assert waiting.state == "waiting"
    assert waiting.reason == "no such class"
    assert waiting.next_try is not None
    assert (waiting.delivered, waiting.missing) == (2, 1)


def test_a_delivery_that_is_sent_again_waits_and_is_delivered_once_more(ledger, records):
    again = T + 30
    ledger.record(routed("p"))
    ledger.record(attempted("p", 1, T + 10))
    ledger.record(finished("p", DeliveryState.DELIVERED, T + 22))
    ledger.record(routed("p", at=again, again_at=again))
    waiting = records.delivery("p-archive")
    assert (waiting.state, waiting.delivered, waiting.missing) == ("waiting", 0, 3)
    assert len(waiting.history) == 1, "what was before is not forgotten"
    ledger.record(finished("p", DeliveryState.DELIVERED, T + 23))
    assert records.delivery("p-archive").state == "waiting", "that was the first time"
    ledger.record(attempted("p", 1, T + 31))
    # By a clock that is half a minute late.
    ledger.record(finished("p", DeliveryState.DELIVERED, T + 2, again_at=again))
    delivered = records.delivery("p-archive")
    assert (delivered.state, delivered.delivered, len(delivered.history)) == ("delivered", 3, 2)
    ledger.record(routed("p", at=T + 99, again_at=again))
    assert records.delivery("p-archive").state == "delivered"


def test_a_late_word_does_not_undo_the_end(ledger, records):
    ledger.record(finished("p", DeliveryState.DISCARDED, T + 9, missing=3, reason="discarded: x"))
    ledger.record(attempted("p", 1, T + 30, refused=1))
    ledger.record(finished("p", DeliveryState.HELD, T + 31, missing=3))
    assert records.delivery("p-archive").state == "discarded"


def lost(parcel):
    end = finished(parcel, DeliveryState.DISCARDED, T + 900, reason="discarded: lost")
    return end.model_copy(update={"gone": True})


@pytest.mark.parametrize("held", [False, True])
def test_what_only_the_ledger_knows_of_is_closed_for_good(ledger, records, held):
    again = T + 30
    ledger.record(routed("p", at=again, again_at=again))
    if held:
        ledger.record(finished("p", DeliveryState.HELD, T + 31, missing=3, again_at=again))
    ledger.record(lost("p"))
    closed = records.delivery("p-archive")
    assert (closed.state, closed.missing, closed.reason) == ("discarded", 3, "discarded: lost")
    ledger.record(attempted("p", 1, T + 40))
    assert records.delivery("p-archive").state == "discarded"


@pytest.mark.parametrize("late", [False, True])
def test_a_delivery_that_was_made_stays_so_whoever_thinks_it_lost(ledger, records, late):
    end = finished("p", DeliveryState.DELIVERED, T + 22)
    for event in (routed("p"), *((lost("p"), end) if late else (end, lost("p")))):
        ledger.record(event)
    assert records.delivery("p-archive").state == "delivered"


def test_what_the_ledger_never_heard_of_is_not_made_up(ledger, records):
    ledger.record(lost("p"))
    ledger.record(ParcelDiscarded(parcel="p", reason="lost", at=T, gone=True))
    assert records.delivery("p-archive") is None
    assert records.parcel("p") is None


def test_a_held_parcel_that_only_the_ledger_knows_of_is_closed(ledger, records):
    ledger.record(ParcelHeld(parcel="p", reason="no rule", at=T))
    ledger.record(ParcelDiscarded(parcel="p", reason="lost", at=T + 900, gone=True))
    assert records.parcel("p").state == "discarded"


def test_a_peers_hostile_words_are_kept_without_harm(ledger, records):
    nasty = "NUL \0 and " + "x" * 5000
    outcome = InstanceOutcome(
        number=1, sop_instance_uid="1\0", outcome=Outcome.REFUSED, detail="\0' OR 1=1 --"
    )
    ledger.record(attempted("p", 1, T, detail=nasty, failures=(outcome,)))
    ledger.record(received("p", calling_ae_title="A\0B" * 40))
    found = records.delivery("p-archive")
    assert "\0" not in found.model_dump_json()
    assert len(found.history[0].detail) == 2000


def test_deliveries_are_listed_newest_first_filtered_and_in_pages(gateway):
    for number in range(7):
        parcel = f"{number:026x}"
        study = "1.2.3" if number % 2 else "9.9"
        gateway.ledger.record(received(parcel, study_instance_uid=study))
        gateway.ledger.record(routed(parcel))
        gateway.ledger.record(routed(parcel, "other"))
    gateway.ledger.record(finished(f"{0:026x}", DeliveryState.HELD, T + 9, missing=3))
    http = gateway.http

    def ids(query):
        answer = http.get(f"/api/v1/deliveries?{query}")
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    everything = ids("limit=100")
    assert everything == sorted(everything, reverse=True)
    assert len(everything) == 14
    pages, before = [], None
    while True:
        page = http.get("/api/v1/deliveries", params={"limit": 4, **(before or {})}).json()
        pages += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    assert pages == everything
    assert ids("state=held") == [f"{0:026x}-archive"]
    assert len(ids("target=other")) == 7
    assert len(ids("study=1.2.3")) == 6
    assert len(ids(f"parcel={1:026x}")) == 2
    assert ids("study=%00") == []
    assert http.get("/api/v1/deliveries?state=lost").status_code == 422
    assert http.get("/api/v1/deliveries?limit=0").json()["errors"][0]["field"] == "limit"
    assert len(http.get("/api/v1/parcels?study=9.9&state=received").json()["items"]) == 4
    assert len(http.get("/api/v1/parcels?store_node=main&limit=3").json()["items"]) == 3


def test_events_on_the_bus_reach_the_ledger(gateway):
    gateway.bus.consume(LEDGER, gateway.ledger.handle)
    for event in run_of("p"):
        gateway.bus.send(LEDGER, event)
    until(lambda: gateway.http.get("/api/v1/parcels/pb").json().get("state") == "discarded")
    assert gateway.http.get("/api/v1/deliveries/p-archive").json()["state"] == "delivered"


def test_an_event_waits_while_the_database_is_away(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'later.sqlite'}")
    ledger = Ledger(database, CollectorRegistry())
    with pytest.raises(Retry):
        ledger.handle(received("p"))
    database.prepare()
    ledger.handle(received("p"))
    assert Records(database).parcel("p") is not None
    database.close()


def test_a_persons_request_goes_to_the_router_and_its_answer_comes_back(gateway):
    asked = []

    def router(message):
        asked.append(message)
        done = isinstance(message, DeliveryRetryRequested)
        return RequestFinished(done=done, detail="as you wish" if done else "it is in work")

    gateway.bus.serve(SPOOL, router)
    gateway.ledger.record(routed("p"))
    gateway.ledger.record(received("p"))
    http = gateway.http
    retried = http.post("/api/v1/deliveries/p-archive/retry")
    assert (retried.status_code, retried.json()) == (200, {"detail": "as you wish"})
    refused = http.post("/api/v1/deliveries/p-archive/discard", json={"reason": "old"})
    assert (refused.status_code, refused.json()["detail"]) == (409, "it is in work")
    assert asked[1].reason == "old"
    assert http.post("/api/v1/parcels/p/route").status_code == 409
    assert http.post("/api/v1/parcels/p/discard", json={"reason": "x"}).status_code == 409
    unknown = http.post("/api/v1/deliveries/q-archive/discard", json={"reason": "x"})
    assert unknown.status_code == 404
    silent = http.post("/api/v1/deliveries/p-archive/discard", json={"reason": " "})
    assert silent.json()["errors"][0]["field"] == "reason"


def test_a_router_that_is_away_is_said_so(gateway, monkeypatch):
    monkeypatch.setattr("config_api.web.requests._TIMEOUT_SECONDS", 0.2)
    answer = gateway.http.post("/api/v1/deliveries/p-archive/retry")
    assert answer.status_code == 503
    assert "router" in answer.json()["detail"]


def test_only_what_is_finished_and_old_is_forgotten(ledger, records, database):
    for event in run_of("p"):
        ledger.record(event)
    for event in run_of("q")[:9]:
        ledger.record(event)
    assert purge(database, T) == 0
    forgotten = purge(database, T + 1000)
    assert records.delivery("p-archive") is None
    assert records.delivery("p-other").state == "held"
    assert records.parcel("p") is not None
    assert records.parcel("q") is None
    assert records.parcel("pb") is None
    assert forgotten == 4
    assert records.deliveries(Page()) == [records.deliveries(Page(), target="other")[0]]


def test_metrics_tell_what_is_unfinished_of_targets_that_are_there_and_of_those_that_were(gateway):
    now = time.time()
    for name, enabled in (("idle", False), ("busy", True)):
        settings = {"type": "folder", "path": "/tmp", "enabled": enabled}  # noqa: S108
        assert gateway.http.put(f"/api/v1/targets/{name}", json=settings).is_success
    gateway.ledger.record(routed("p", at=now - 100))
    gateway.ledger.record(finished("q", DeliveryState.HELD, now, missing=3))
    gateway.ledger.handle(finished("r", DeliveryState.DELIVERED, now))
    text = gateway.http.get("/metrics").text
    assert 'crossdock_deliveries{state="waiting",target="archive"} 1.0' in text
    assert 'crossdock_deliveries{state="held",target="archive"} 1.0' in text
    assert 'state="delivered"' not in text
    assert 'crossdock_deliveries{state="held",target="busy"} 0.0' in text
    assert 'crossdock_target_standstill{target="idle"} 1.0' in text
    assert 'crossdock_target_standstill{target="busy"} 0.0' in text
    assert 'crossdock_target_standstill{target="archive"}' not in text
    assert 'crossdock_ledger_events_total{type="delivery.finished"} 1.0' in text
    oldest = re.search(r'waiting_delivery_seconds{target="archive"} ([\d.]+)', text)
    assert 100 <= float(oldest[1]) < 160
    assert 'waiting_delivery_seconds{target="busy"} 0.0' in text
