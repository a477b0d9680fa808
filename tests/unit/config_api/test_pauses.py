"""Stopping a target for a while, over HTTP, on SQLite and PostgreSQL."""

import pytest

from crossdock.messages import DeliveryFinished, DeliveryRouted
from crossdock.model import DeliveryState


FOLDER = {"name": "research", "type": "folder", "path": "/data/research"}
OTHER = {"name": "other", "type": "folder", "path": "/data/other", "enabled": False}
WHOLE = {"targets": [FOLDER, OTHER]}
WHY = {"reason": "its share is moved tonight"}


@pytest.fixture
def http(gateway):
    assert gateway.http.put("/api/v1/gateway", json=WHOLE).is_success
    return gateway.http


def pause(http, **headers):
    answer = http.post("/api/v1/targets/research/pause", json=WHY, headers=headers)
    assert answer.is_success, answer.text
    return answer.json()["detail"]


def paused(http):
    return http.get("/api/v1/targets/research").json()["paused"]


def routed(parcel, target="research", at=5.0):
    return DeliveryRouted(
        delivery=f"{parcel}-{target}",
        parcel=parcel,
        target=target,
        protocol="folder",
        rules=("all",),
        instances=1,
        revision=1,
        at=at,
    )


def held(parcel, target="research"):
    return DeliveryFinished(
        delivery=f"{parcel}-{target}",
        state=DeliveryState.HELD,
        delivered=0,
        warnings=0,
        missing=1,
        at=9.0,
    )


def test_a_pause_is_a_revision_with_its_reason_and_who_wanted_it(http):
    before = http.get("/api/v1/revisions").json()["items"][0]["revision"]
    assert pause(http, **{"Crossdock-Actor": "ann"}) == f"revision {before + 1} is in force"
    newest = http.get("/api/v1/revisions").json()["items"][0]
    assert newest["actor"] == "ann"
    assert newest["summary"] == "target research paused: its share is moved tonight"
    assert paused(http) == WHY["reason"]
    assert "no change" in pause(http)
    assert http.post("/api/v1/targets/research/resume").json()["detail"].startswith("revision")
    assert paused(http) == ""
    assert "no change" in http.post("/api/v1/targets/research/resume").json()["detail"]


def test_a_pause_needs_a_reason_and_a_target(http):
    silent = http.post("/api/v1/targets/research/pause", json={"reason": " "})
    assert silent.json()["errors"][0]["field"] == "reason"
    assert http.post("/api/v1/targets/nowhere/pause", json=WHY).status_code == 404
    assert http.post("/api/v1/targets/nowhere/resume").status_code == 404
    stale = {"If-Match": '"1"'}
    url = "/api/v1/targets/research/pause"
    assert http.post(url, json=WHY, headers=stale).status_code == 412


def test_only_a_document_that_mentions_the_pause_ends_it(http):
    pause(http)
    assert http.put("/api/v1/gateway", json=WHOLE).json()["changes"] == []
    assert http.put("/api/v1/targets/research", json=FOLDER | {"contact": "a@b.example"}).is_success
    assert http.patch("/api/v1/targets/research", json={"concurrency": 2}).is_success
    assert http.post("/api/v1/revisions/2/restore").is_success
    assert paused(http) == WHY["reason"]
    exported = http.get("/api/v1/gateway").json()
    assert exported["targets"][0]["paused"] == WHY["reason"]
    said = {"targets": [FOLDER | {"paused": ""}, OTHER]}
    assert http.put("/api/v1/gateway", json=said).json()["changes"][0]["fields"] == ["paused"]
    assert paused(http) == ""
    pause(http)
    assert http.patch("/api/v1/targets/research", json={"paused": None}).json()["paused"] == ""
    for odd in ({"targets": 7}, {"targets": [7]}, {"targets": [{"name": ["research"]}]}):
        assert http.put("/api/v1/gateway", json=odd).status_code == 422


def test_a_target_is_paused_although_deliveries_wait_and_they_say_why(gateway, http):
    gateway.ledger.record(routed("p"))
    gateway.ledger.record(routed("q", "other"))
    gateway.ledger.record(routed("r"))
    gateway.ledger.record(held("r"))
    pause(http)
    reasons = {
        each["id"]: each["reason"] for each in http.get("/api/v1/deliveries").json()["items"]
    }
    assert reasons["p-research"] == "target research is paused: its share is moved tonight"
    assert reasons["q-other"] == "target other is disabled"
    assert reasons["r-research"] == ""
    research, other = http.get("/api/v1/standings").json()["items"]
    assert (research["state"], research["reason"]) == ("paused", WHY["reason"])
    assert (research["waiting"], research["held"]) == (1, 1)
    assert research["oldest_waiting"].startswith("1970-01-01T00:00:05")
    assert (other["state"], other["waiting"], other["green"]) == ("disabled", 1, None)
    page = http.get("/").text
    assert "paused: its share is moved tonight" in page
    assert "crossdock targets resume research" in page
