"""Requests on many deliveries and on parcels, over HTTP, and the record of who wanted them."""

import pytest

from crossdock.bus.topology import SPOOL
from crossdock.messages import (
    BatchFinished,
    BatchRequested,
    DeliveryFinished,
    DeliveryRouted,
    ParcelReceived,
    RequestFinished,
)
from crossdock.model import DeliveryState
from machine import crossdock


FOLDER = {"name": "research", "type": "folder", "path": "/data/research"}
ARCHIVE = {"type": "dicom", "name": "archive", "host": "pacs", "port": 104, "called_ae_title": "X"}
ANN = {"Crossdock-Actor": "ann"}


class Router:
    """Answers as the router does: one by one, so many of a batch, and never for some."""

    def __init__(self, gateway, at_once=1000):
        self.asked = []
        self.at_once = at_once
        gateway.bus.serve(SPOOL, self.answer)

    def answer(self, message):
        if not isinstance(message, BatchRequested):
            self.asked.append(message)
            return RequestFinished(done=True)
        now = message.requests[: self.at_once]
        self.asked += now
        return BatchFinished(answers=tuple(self.met(request.delivery) for request in now))

    def met(self, delivery):
        busy = delivery.startswith("busy")
        return RequestFinished(done=not busy, detail="it is in work" if busy else "")


def record(gateway, parcel, target="archive", *, held=False, study="1.2"):
    delivery = f"{parcel}-{target}"
    common = {"store_node": "main", "calling_ae_title": "CT", "address": "10.0.0.1"}
    numbers = {"instances": 1, "bytes": 1, "received_at": 1.0, "closed_at": 1.0}
    gateway.ledger.record(
        ParcelReceived(
            parcel=parcel, study_instance_uid=study, series_instance_uid="1", **common, **numbers
        )
    )
    gateway.ledger.record(
        DeliveryRouted(
            delivery=delivery,
            parcel=parcel,
            target=target,
            protocol="folder",
            rules=(),
            instances=1,
            revision=1,
            at=2.0,
        )
    )
    if held:
        end = {"delivered": 0, "warnings": 0, "missing": 1, "at": 3.0}
        gateway.ledger.record(DeliveryFinished(delivery=delivery, state=DeliveryState.HELD, **end))
    return delivery


@pytest.fixture
def many(gateway):
    for parcel in ("p1", "p2", "busy"):
        record(gateway, parcel)
    record(gateway, "p3", held=True, study="9.9")
    record(gateway, "p4", "research")
    return gateway


def post(gateway, path, body, **query):
    answer = gateway.http.post(f"/api/v1/{path}", json=body, params=query, headers=ANN)
    assert answer.is_success, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"target": "archive"}, ["busy-archive", "p1-archive", "p2-archive", "p3-archive"]),
        ({"state": "held"}, ["p3-archive"]),
        ({"state": "waiting", "target": "research"}, ["p4-research"]),
        ({"study": "9.9"}, ["p3-archive"]),
        ({"parcel": "p2"}, ["p2-archive"]),
        ({"ids": ["p1-archive", "p1-archive"]}, ["p1-archive"]),
        ({"ids": ["p1-archive"], "state": "held"}, []),
        ({"target": "nowhere"}, []),
    ],
)
def test_a_filter_chooses_what_fits_all_of_it(many, chosen, expected):
    router = Router(many)
    dry = post(many, "deliveries/retry", chosen, dry_run=True)
    assert (dry["matched"], dry["done"], dry["next"]) == (len(expected), 0, None)
    assert router.asked == []
    answer = post(many, "deliveries/retry", chosen)
    assert sorted(each.delivery for each in router.asked) == expected
    assert answer["next"] is None
    assert answer["done"] == len([each for each in expected if not each.startswith("busy")])


def test_what_cannot_be_done_is_said_with_its_reason(many):
    Router(many)
    answer = post(many, "deliveries/retry", {"ids": ["busy-archive", "p1-archive", "zz-nothing"]})
    assert (answer["matched"], answer["done"]) == (3, 1)
    assert answer["refused"] == [
        {"delivery": "busy-archive", "reason": "it is in work"},
        {"delivery": "zz-nothing", "reason": "there is no such unfinished delivery"},
    ]


def test_a_router_that_does_little_at_a_time_is_asked_until_all_is_done(many, monkeypatch):
    router = Router(many, at_once=1)
    monkeypatch.setattr("config_api.batches.SECONDS", 0.0)
    chosen, after, done, asked = {"target": "archive", "reason": "by hand"}, {}, 0, 0
    while True:
        answer = post(many, "deliveries/discard", chosen, **after)
        asked, done = asked + 1, done + answer["done"]
        assert answer["matched"] <= 1
        if answer["next"] is None:
            break
        after = {"after": answer["next"]}
    assert (asked, done) == (5, 3)
    assert [each.delivery for each in router.asked] == sorted(e.delivery for e in router.asked)
    assert {each.reason for each in router.asked} == {"by hand"}


@pytest.mark.parametrize(
    "body", [{}, {"state": "delivered"}, {"target": ""}, {"colour": "red"}, {"ids": "p1"}]
)
def test_a_filter_that_says_nothing_or_nonsense_is_refused(gateway, body):
    for path in ("retry", "discard"):
        url = f"/api/v1/deliveries/{path}"
        assert gateway.http.post(url, json={**body, "reason": "x"}).status_code == 422


def test_a_router_that_is_away_is_said_so_before_anything_is_done(many, monkeypatch):
    monkeypatch.setattr("config_api.batches._TIMEOUT_SECONDS", 0.2)
    answer = many.http.post("/api/v1/deliveries/retry", json={"target": "archive"})
    assert answer.status_code == 503


def test_a_parcel_is_sent_and_a_delivery_moved_to_a_target_that_there_is(many):
    router = Router(many)
    whole = {"targets": [FOLDER, ARCHIVE | {"direction": "both"}, ARCHIVE | {"name": "old"}]}
    whole["targets"].append(ARCHIVE | {"name": "asked", "direction": "query"})
    number = many.http.put("/api/v1/gateway", json=whole).json()["revision"]
    post(many, "parcels/p1/send", {"target": "research", "instances": [2]})
    post(many, "deliveries/p1-archive/move", {"target": "old"})
    sent, moved = router.asked
    assert (sent.parcel, sent.target, sent.protocol) == ("p1", "research", "folder")
    assert (sent.instances, sent.revision) == ((2,), number)
    assert (moved.delivery, moved.target, moved.protocol) == ("p1-archive", "old", "dicom")
    for body in ({"target": "nowhere"}, {"target": "asked"}, {}):
        for path in ("parcels/p1/send", "deliveries/p1-archive/move"):
            wrong = many.http.post(f"/api/v1/{path}", json=body)
            assert wrong.status_code == 422
            assert wrong.json()["errors"][0]["field"] == "target"
    for wrong in ([], [0], ["x"], 7):
        body = {"target": "research", "instances": wrong}
        assert many.http.post("/api/v1/parcels/p1/send", json=body).status_code == 422


def test_who_did_what_is_on_record(many):
    Router(many)
    many.http.put("/api/v1/gateway", json={"targets": [FOLDER]})
    post(many, "deliveries/p1-archive/retry", None)
    post(many, "deliveries/p2-archive/discard", {"reason": "sent by hand"})
    post(many, "parcels/p1/send", {"target": "research"})
    post(many, "deliveries/discard", {"target": "archive", "reason": "gone"})
    items = many.http.get("/api/v1/audit").json()["items"]
    assert {item["actor"] for item in items} == {"ann"}
    assert [(item["action"], item["subject"], item["outcome"]) for item in reversed(items)] == [
        ("retry", "p1-archive", "done"),
        ("discard", "p2-archive", "sent by hand; done"),
        ("send", "p1", "to research; done"),
        ("discard", "deliveries with target archive", "gone; 3 of 4 done"),
    ]
    page = many.http.get("/api/v1/audit?limit=3").json()
    rest = many.http.get(f"/api/v1/audit?limit=3&before={page['next']}").json()
    assert (len(page["items"]), len(rest["items"]), rest["next"]) == (3, 1, None)


def test_giving_many_up_at_the_command_line_asks_first_and_names_what_is_left(many):
    router = Router(many)
    url = str(many.http.base_url)
    command = ("deliveries", "discard", "--target", "archive", "--reason", "sent by hand")
    unsure = crossdock(*command, stdin="n\n", CROSSDOCK_API=url)
    assert unsure.exit_code == 1
    assert "Give 4 up for good?" in unsure.output
    dry = crossdock(*command, "--dry-run", CROSSDOCK_API=url)
    assert (dry.exit_code, dry.stdout) == (0, "4 deliveries fit\n")
    assert router.asked == []
    sure = crossdock(*command, "--yes", CROSSDOCK_API=url)
    assert sure.exit_code == 1
    assert "done: 3" in sure.stdout
    assert "busy-archive: it is in work" in sure.stderr
    assert len(router.asked) == 4
    for wrong in (("retry",), ("retry", "p1-archive", "--state", "held")):
        assert crossdock("deliveries", *wrong, CROSSDOCK_API=url).exit_code == 2


def test_many_at_the_command_line_say_how_far_they_got_when_the_router_goes_away(many, monkeypatch):
    def answer_once(_message):
        subscription.close(0.0)
        return BatchFinished(answers=(RequestFinished(done=True),))

    monkeypatch.setattr("config_api.batches.SECONDS", 0.0)
    monkeypatch.setattr("config_api.batches._TIMEOUT_SECONDS", 0.5)
    subscription = many.bus.serve(SPOOL, answer_once)
    command = ("deliveries", "retry", "--target", "archive", "--state", "waiting")
    stopped = crossdock(*command, CROSSDOCK_API=str(many.http.base_url))
    assert stopped.exit_code == 1
    assert "done before it stopped: 1" in stopped.stderr
    assert "router does not answer" in stopped.stderr
