"""Objects and revisions, over HTTP, on SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from crossdock.bus.topology import CONFIG_CHANGED
from crossdock.config import parse_gateway
from crossdock.messages import DeliveryFinished, DeliveryRouted
from crossdock.model import DeliveryState
from waiting import until


NODE = {"name": "main", "ae_title": "CROSSDOCK", "port": 11112, "accept": "any"}
FOLDER = {"name": "research", "type": "folder", "path": "/data/research"}
ARCHIVE = {
    "name": "archive",
    "type": "dicom",
    "host": "pacs.example",
    "port": 104,
    "called_ae_title": "ARCHIVE",
}
RULE = {"name": "all", "targets": ["archive", "research"]}
WHOLE = {"store_nodes": [NODE], "targets": [ARCHIVE, FOLDER], "rules": [RULE]}


@pytest.fixture
def http(gateway):
    return gateway.http


@pytest.fixture
def whole(http):
    answer = http.put("/api/v1/gateway", json=WHOLE)
    assert answer.status_code == 200, answer.text
    return http


def names(http, path):
    return [item["name"] for item in http.get(f"/api/v1/{path}").json()["items"]]


@pytest.mark.parametrize(
    ("path", "item"), [("store-nodes", NODE), ("targets", ARCHIVE), ("targets", FOLDER)]
)
def test_an_object_lives_from_post_to_delete(http, path, item):
    created = http.post(f"/api/v1/{path}", json=item)
    assert created.status_code == 201
    assert created.json().items() >= item.items()
    url = f"/api/v1/{path}/{item['name']}"
    assert http.get(url).json() == created.json()
    assert http.put(url, json=item | {"description": "new"}).json()["description"] == "new"
    assert http.patch(url, json={"description": None}).json()["description"] == ""
    assert names(http, path) == [item["name"]]
    assert http.delete(url).status_code == 204
    assert http.get(url).status_code == 404
    assert http.delete(url).status_code == 404


def test_put_creates_what_is_not_there_and_takes_the_name_from_the_path(http):
    answer = http.put("/api/v1/targets/research", json={"type": "folder", "path": "/r"})
    assert answer.status_code == 201
    assert http.get("/api/v1/targets/research").json()["path"] == "/r"


def test_a_name_cannot_be_taken_twice(whole):
    answer = whole.post("/api/v1/targets", json=FOLDER)
    assert answer.status_code == 409
    assert "'research'" in answer.json()["detail"]
    renamed = whole.patch("/api/v1/targets/research", json={"name": "archive"})
    assert renamed.status_code == 409


@pytest.mark.parametrize(
    ("path", "item", "field"),
    [
        ("targets", ARCHIVE | {"port": 0}, "port"),
        ("targets", ARCHIVE | {"called_ae_title": "SEVENTEEN_LETTERS"}, "called_ae_title"),
        ("targets", ARCHIVE | {"colour": "red"}, "colour"),
        ("targets", {"name": "x"}, "type"),
        ("targets", {"name": "x", "type": "fax"}, "type"),
        ("targets", FOLDER | {"naming": "{PatientNane}"}, "naming"),
        ("targets", FOLDER | {"fallback": "nowhere"}, "fallback"),
        ("targets", FOLDER | {"time_zone": "Mars/Olympus"}, "time_zone"),
        ("store-nodes", NODE | {"port": "abc"}, "port"),
        ("store-nodes", NODE | {"name": "../x"}, "name"),
        ("store-nodes", NODE | {"name": "second"}, "port"),
        ("rules", {"name": "r", "targets": ["nowhere"]}, "targets[0]"),
        ("rules", {"name": "r", "targets": ["archive"], "when": "Modalty == 1"}, "when"),
        ("rules", {"name": "r", "targets": ["archive"], "store_nodes": ["x"]}, "store_nodes[0]"),
    ],
)
def test_a_mistake_is_named_by_its_field(whole, path, item, field):
    answer = whole.post(f"/api/v1/{path}", json={"name": "fresh"} | item | _fresh(item))
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in [error["field"] for error in answer.json()["errors"]]


def _fresh(item):
    """A name that is free, unless the name is the point."""
    return {"name": "fresh"} if item.get("name") in ("archive", "research", "main") else {}


def test_a_mistake_anywhere_in_the_whole_is_named_by_its_path(http):
    wrong = {"targets": [FOLDER, ARCHIVE | {"port": 70000}], "rules": [{"name": "r"}]}
    fields = [e["field"] for e in http.put("/api/v1/gateway", json=wrong).json()["errors"]]
    assert fields == ["targets[1].port", "rules[0].targets"]


@pytest.mark.parametrize("path", ["targets/archive", "targets/research"])
def test_what_a_rule_needs_cannot_be_deleted_or_renamed(whole, path):
    for answer in (
        whole.delete(f"/api/v1/{path}"),
        whole.delete(f"/api/v1/{path}?waiting=discard"),
        whole.patch(f"/api/v1/{path}", json={"name": "other"}),
    ):
        assert answer.status_code == 409
        assert "rule 'all'" in answer.json()["detail"]


def test_the_fallback_of_others_cannot_be_deleted(whole):
    vault = {"name": "vault", "type": "folder", "path": "/vault"}
    assert whole.post("/api/v1/targets", json=vault).is_success
    assert whole.patch("/api/v1/targets/archive", json={"fallback": "vault"}).is_success
    refused = whole.delete("/api/v1/targets/vault")
    assert refused.status_code == 409
    assert "target 'archive' has target 'vault' as its fallback" in refused.json()["detail"]
    assert whole.patch("/api/v1/targets/archive", json={"fallback": None}).is_success
    assert whole.delete("/api/v1/targets/vault").is_success


def test_a_target_whose_deliveries_are_finished_can_be_deleted(gateway, whole):
    whole.delete("/api/v1/rules/all")
    gateway.ledger.record(routed("p1", "archive"))
    gateway.ledger.record(
        DeliveryFinished(
            delivery="p1-archive",
            state=DeliveryState.DELIVERED,
            delivered=1,
            warnings=0,
            missing=0,
            at=2.0,
        )
    )
    assert whole.delete("/api/v1/targets/archive").status_code == 204


def routed(parcel, target):
    return DeliveryRouted(
        delivery=f"{parcel}-{target}",
        parcel=parcel,
        target=target,
        protocol="dicom",
        rules=("all",),
        instances=1,
        revision=1,
        at=1.0,
    )


def test_each_change_is_a_revision_and_no_change_is_none(whole):
    before = whole.get("/api/v1/gateway").headers["etag"]
    answer = whole.put("/api/v1/gateway", json=WHOLE)
    assert answer.json()["changes"] == []
    assert answer.headers["etag"] == before
    whole.patch("/api/v1/targets/archive", json={"port": 105}, headers={"Crossdock-Actor": "ann"})
    newest = whole.get("/api/v1/revisions").json()["items"][0]
    assert f'"{newest["revision"]}"' != before
    assert newest["actor"] == "ann"
    assert newest["summary"] == "target archive changed (port)"


def test_a_dry_run_says_what_would_change_and_changes_nothing(whole):
    wanted = {"store_nodes": [NODE], "targets": [FOLDER, ARCHIVE | {"port": 105}]}
    answer = whole.put("/api/v1/gateway?dry_run=true", json=wanted).json()
    said = {(c["kind"], c["name"], c["change"]) for c in answer["changes"]}
    assert said == {
        ("targets", "archive", "changed"),
        ("targets", "research", "moved"),
        ("rules", "all", "removed"),
    }
    assert names(whole, "rules") == ["all"]


def test_the_whole_that_is_got_can_be_put_without_a_change(whole):
    document = whole.get("/api/v1/gateway").json()
    assert parse_gateway(document) == parse_gateway(WHOLE)
    assert whole.put("/api/v1/gateway", json=document).json()["changes"] == []


def test_a_new_gateway_has_empty_lists(http):
    assert http.get("/api/v1/gateway").json() == {"store_nodes": [], "targets": [], "rules": []}


def test_an_earlier_revision_can_be_restored(whole):
    number = whole.get("/api/v1/revisions").json()["items"][0]["revision"]
    whole.put("/api/v1/gateway", json={})
    assert names(whole, "targets") == []
    answer = whole.post(f"/api/v1/revisions/{number}/restore")
    assert answer.status_code == 200
    assert names(whole, "targets") == ["archive", "research"]
    newest = whole.get("/api/v1/revisions").json()["items"][0]
    assert newest["summary"] == f"revision {number} restored"
    assert whole.get(f"/api/v1/revisions/{newest['revision']}").json()["document"]["rules"]
    assert whole.post("/api/v1/revisions/999/restore").status_code == 404


def test_revisions_come_in_pages(http):
    for number in range(5):
        http.put("/api/v1/targets/research", json=FOLDER | {"description": str(number)})
    first = http.get("/api/v1/revisions?limit=4").json()
    rest = http.get(f"/api/v1/revisions?limit=4&before={first['next']}").json()
    assert [r["revision"] for r in first["items"] + rest["items"]] == [6, 5, 4, 3, 2, 1]
    assert rest["next"] is None


def test_a_change_for_a_stale_revision_is_refused(whole):
    stale = whole.get("/api/v1/targets/archive").headers["etag"]
    fresh = whole.patch("/api/v1/targets/archive", json={"port": 1}, headers={"If-Match": stale})
    assert fresh.status_code == 200
    again = whole.patch("/api/v1/targets/archive", json={"port": 2}, headers={"If-Match": stale})
    assert again.status_code == 412
    assert whole.get("/api/v1/targets/archive").json()["port"] == 1
    sure = {"If-Match": fresh.headers["etag"]}
    assert whole.patch("/api/v1/targets/archive", json={"port": 2}, headers=sure).is_success


def test_changes_at_the_same_time_are_all_made_or_refused(whole):
    def create(number):
        item = FOLDER | {"name": f"f{number}"}
        return whole.post("/api/v1/targets", json=item).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create, range(16)))
    assert set(statuses) <= {201, 409}
    made = [name for name in names(whole, "targets") if name.startswith("f")]
    assert sorted(made) == sorted(f"f{n}" for n, status in enumerate(statuses) if status == 201)


def test_a_change_is_announced_on_the_bus(gateway):
    heard = []
    gateway.bus.listen(CONFIG_CHANGED, heard.append)
    answer = gateway.http.put("/api/v1/gateway", json=WHOLE)
    until(lambda: heard)
    assert heard[0].revision == answer.json()["revision"]


def test_a_patch_merges_deeply_and_drops_null():
    from config_api.web.objects import merge  # noqa: PLC0415 — a pure function beside HTTP tests

    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}, "d": [1]}) == {
        "a": {"c": 2, "e": 4},
        "d": [1],
    }
