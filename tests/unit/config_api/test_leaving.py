"""What becomes of deliveries whose target is taken away, over HTTP."""

import pytest

from config_api.configuration import Configuration
from config_api.records import Records
from config_api.settling import Draining
from crossdock.bus.topology import LEDGER, SPOOL
from crossdock.messages import (
    BatchFinished,
    DeliveryDiscardRequested,
    DeliveryFinished,
    DeliveryMoveRequested,
    DeliveryRouted,
    RequestFinished,
)
from crossdock.model import DeliveryState


FOLDER = {"name": "research", "type": "folder", "path": "/data/research"}
OTHER = {"name": "other", "type": "folder", "path": "/data/other"}
ARCHIVE = {"name": "archive", "type": "dicom", "host": "p", "port": 104, "called_ae_title": "X"}
ASKED = ARCHIVE | {"name": "asked", "direction": "query"}
WHOLE = {"targets": [FOLDER, OTHER, ASKED]}
URL = "/api/v1/targets/research"


def routed(parcel, target="research"):
    return DeliveryRouted(
        delivery=f"{parcel}-{target}",
        parcel=parcel,
        target=target,
        protocol="folder",
        rules=(),
        instances=1,
        revision=1,
        at=1.0,
    )


def delivered(parcel):
    end = {"state": DeliveryState.DELIVERED, "delivered": 1, "warnings": 0, "missing": 0, "at": 2.0}
    return DeliveryFinished(delivery=f"{parcel}-research", **end)


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path / 'crossdock.sqlite'}"


@pytest.fixture
def http(gateway):
    """Two deliveries wait for the target research."""
    assert gateway.http.put("/api/v1/gateway", json=WHOLE).is_success
    for parcel in ("p1", "p2"):
        gateway.ledger.record(routed(parcel))
    return gateway.http


@pytest.fixture
def router(gateway):
    """What the router was asked for; it cannot do what begins with a name in ``busy``."""
    asked = Asked()
    gateway.bus.serve(SPOOL, asked.answer)
    return asked


class Asked(list):
    busy, gone = (), ()

    def answer(self, message):
        self += message.requests
        return BatchFinished(answers=tuple(self.met(each.delivery) for each in message.requests))

    def met(self, delivery):
        gone = delivery in self.gone
        return RequestFinished(done=not gone and delivery not in self.busy, gone=gone)


def names(http):
    return [item["name"] for item in http.get("/api/v1/targets").json()["items"]]


def draining(http):
    return [
        item["name"] for item in http.get("/api/v1/targets").json()["items"] if item["draining"]
    ]


def without_research(http, **query):
    return http.put("/api/v1/gateway", json={"targets": [OTHER, ASKED]}, params=query)


def test_taking_a_target_away_is_refused_with_the_count_and_the_choices(http):
    for answer in (
        http.delete(URL),
        http.patch(URL, json={"name": "renamed"}),
        without_research(http),
        http.post("/api/v1/revisions/1/restore"),
    ):
        assert answer.status_code == 409
        detail = answer.json()["detail"]
        assert "'research' has 2 unfinished deliveries" in detail
        for choice in ("drain", "move:OTHER", "discard"):
            assert f"waiting={choice}" in detail
    retyped = http.put(URL, json=ARCHIVE | {"name": "research"})
    assert retyped.status_code == 409
    assert http.patch(URL, json={"path": "/elsewhere", "enabled": False}).is_success
    for wrong in ("lose", "move:", "move:../x", ""):
        assert http.delete(URL, params={"waiting": wrong}).status_code == 422
    assert names(http) == ["research", "other", "asked"]


def test_a_drained_target_takes_no_new_work_and_goes_after_its_last_delivery(gateway, http):
    answer = http.delete(URL, params={"waiting": "drain"})
    assert answer.status_code == 202
    assert "2 of its deliveries" in answer.json()["detail"]
    assert draining(http) == ["research"]
    assert http.get("/api/v1/standings").json()["items"][0]["state"] == "draining"
    rule = http.post("/api/v1/rules", json={"name": "r", "targets": ["research"]})
    assert rule.json()["errors"][0]["message"] == "target 'research' takes no new work"
    send = http.post("/api/v1/parcels/p9/send", json={"target": "research"})
    assert send.json()["errors"][0]["field"] == "target"
    again = without_research(http).json()
    assert (again["changes"], again["draining"]) == ([], {"research": 2})
    remover = Draining(
        Configuration(gateway.database, gateway.bus), Records(gateway.database), gateway.bus
    )
    later = gateway.parts.configuration.current().at + 60
    gateway.ledger.record(delivered("p1"))
    remover.run(later)
    assert draining(http) == ["research"]
    gateway.ledger.record(delivered("p2"))
    remover.run(later - 55)
    assert draining(http) == ["research"], "a router may not know yet"
    gateway.bus.send(LEDGER, routed("p3"))
    remover.run(later)
    assert draining(http) == ["research"], "the ledger is behind"
    gateway.bus.delete(LEDGER)
    remover.run(later)
    assert names(http) == ["other", "asked"]
    newest = http.get("/api/v1/revisions").json()["items"][0]
    assert (newest["actor"], newest["summary"]) == ("crossdock", "target research removed")


def test_a_file_that_names_a_drained_target_wants_it_back(http):
    assert without_research(http, waiting="drain").json()["draining"] == {"research": 2}
    assert http.put("/api/v1/gateway", json=WHOLE).is_success
    assert draining(http) == []
    dry = without_research(http, waiting="discard", dry_run=True).json()
    assert dry["draining"] == {"research": 2}
    assert draining(http) == []


def test_its_deliveries_are_given_up_and_then_it_goes(http, router):
    answer = http.delete(URL, params={"waiting": "discard"})
    assert answer.status_code == 204
    assert [type(each) for each in router] == [DeliveryDiscardRequested] * 2
    assert router[0].reason == "target research was taken away"
    assert names(http) == ["other", "asked"]
    (action,) = http.get("/api/v1/audit").json()["items"]
    assert (action["action"], action["subject"]) == ("discard", "deliveries with target research")
    assert "2 of 2 done" in action["outcome"]


def test_a_delivery_that_only_the_ledger_takes_for_unfinished_is_in_nobodys_way(http, router):
    router.gone = ("p1-research",)
    assert http.delete(URL, params={"waiting": "discard"}).status_code == 204
    assert names(http) == ["other", "asked"]


def test_what_cannot_be_ended_now_is_drained_and_asking_again_goes_on(http, router):
    router.busy = ("p1-research",)
    first = without_research(http, waiting="discard").json()
    assert first["draining"] == {"research": 1}
    assert draining(http) == ["research"]
    router.busy = ()
    last = without_research(http, waiting="discard").json()
    assert last["draining"] == {}
    assert [(each["name"], each["change"]) for each in last["changes"]] == [("research", "removed")]
    assert names(http) == ["other", "asked"]


def test_a_renamed_target_takes_its_deliveries_along(http, router):
    answer = http.patch(URL, json={"name": "new"}, params={"waiting": "move:new"})
    assert answer.json()["name"] == "new"
    assert names(http) == ["new", "other", "asked"]
    number = int(http.get("/api/v1/targets").headers["etag"].strip('"'))
    for each in router:
        assert isinstance(each, DeliveryMoveRequested)
        assert (each.target, each.protocol, each.revision) == ("new", "folder", number - 1)


@pytest.mark.parametrize("to", ["nowhere", "research", "asked"])
def test_deliveries_are_moved_only_where_they_can_be_taken(http, router, to):
    answer = http.delete(URL, params={"waiting": f"move:{to}"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "waiting"
    assert (router, draining(http)) == ([], [])


def test_a_target_gets_another_type_when_its_deliveries_are_ended(http, router):
    retyped = ARCHIVE | {"name": "research"}
    assert http.put(URL, json=retyped, params={"waiting": "drain"}).status_code == 409
    router.busy = ("p2-research",)
    busy = http.put(URL, json=retyped, params={"waiting": "move:other"})
    assert busy.status_code == 409
    assert "1 unfinished delivery" in busy.json()["detail"]
    assert http.get(URL).json()["type"] == "folder"
    router.busy = ()
    assert http.put(URL, json=retyped, params={"waiting": "move:other"}).is_success
    assert http.get(URL).json()["type"] == "dicom"


def test_a_router_that_is_away_leaves_a_target_that_is_drained(http, monkeypatch):
    monkeypatch.setattr("config_api.batches._TIMEOUT_SECONDS", 0.2)
    assert http.delete(URL, params={"waiting": "discard"}).status_code == 503
    assert draining(http) == ["research"]
