"""Readiness, the overview page, and a database that is away."""

import json
import os
import subprocess
import sys

import pytest

from config_api.database import Database, DatabaseUnavailable
from config_api.publish import Publisher
from crossdock.messages import (
    ConfigRequested,
    DeliveryFinished,
    DeliveryRouted,
    ParcelHeld,
)
from crossdock.model import DeliveryState
from crossdock.telemetry import Health, HealthServer


@pytest.fixture
def neighbour(tmp_path):
    """A service that says what its health is, where config-api looks for it."""
    health = Health()
    server = HealthServer("127.0.0.1", 0, health)
    server.start()
    run = tmp_path / "run"
    run.mkdir()
    (run / "receiver.json").write_text(json.dumps({"pid": os.getpid(), "http": server.address}))
    yield health
    server.close()


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path / 'crossdock.sqlite'}"


def test_ready_means_that_the_required_services_are_ready(start, database, neighbour):
    http = start(database, requires=["receiver"]).http
    assert http.get("/readyz").json() == {"ready": True, "problems": {}, "revision": 1}
    neighbour.watch("store node main", lambda: "port 104 is taken")
    answer = http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == {"receiver: store node main": "port 104 is taken"}
    assert "port 104 is taken" in http.get("/").text


def test_a_service_that_works_by_another_revision_is_not_ready(start, database, neighbour):
    http = start(database, requires=["receiver"]).http
    neighbour.revision = lambda: 7
    problems = http.get("/readyz").json()["problems"]
    assert problems == {"receiver: configuration": "works by revision 7; 1 is in force"}


def test_a_required_service_that_does_not_run_is_named(start, database, tmp_path, neighbour):
    del neighbour
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    dead_file = json.dumps({"pid": dead.pid, "http": "127.0.0.1:1"})
    (tmp_path / "run" / "router.json").write_text(dead_file)
    (tmp_path / "run" / "tester.json").write_text("{}")
    mute = json.dumps({"pid": os.getpid(), "http": "127.0.0.1:1"})
    (tmp_path / "run" / "mute.json").write_text(mute)
    http = start(database, requires=["receiver", "router", "dispatcher", "tester", "mute"]).http
    assert http.get("/readyz").json()["problems"] == {
        "router": "is not running",
        "dispatcher": "is not running",
        "tester": "its address cannot be read",
        "mute": "does not answer",
    }


def test_a_required_service_of_another_machine_is_asked_at_its_address(start, database):
    health = Health()
    health.watch("broker", lambda: "cannot be reached")
    server = HealthServer("127.0.0.1", 0, health)
    server.start()
    http = start(database, requires=[server.address, "127.0.0.2:1"]).http
    assert http.get("/readyz").json()["problems"] == {
        "127.0.0.1: broker": "cannot be reached",
        "127.0.0.2": "does not answer",
    }
    server.close()


def test_while_the_database_is_away_everything_says_so(start, tmp_path):
    (tmp_path / "crossdock.sqlite").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'crossdock.sqlite'}")
    http = start(database).http
    with pytest.raises(DatabaseUnavailable):
        database.prepare()
    for path in ("/api/v1/targets", "/api/v1/deliveries", "/api/v1/parcels/x"):
        answer = http.get(path)
        assert answer.status_code == 503
        assert "database" in answer.json()["detail"]
    assert "database" in http.get("/readyz").json()["problems"]
    assert http.get("/healthz").status_code == 200
    assert http.get("/metrics").status_code == 200
    assert "database" in http.get("/").text
    database.close()


def test_the_page_of_a_new_gateway_says_what_to_do_next(gateway):
    text = gateway.http.get("/").text
    assert "crossdock apply -f gateway.yaml" in text
    assert "Nothing has been routed yet." in text


def test_the_page_shows_what_waits_and_what_is_held(gateway):
    gateway.http.put(
        "/api/v1/gateway",
        json={
            "store_nodes": [{"name": "main", "ae_title": "X<b>", "port": 11112, "accept": "any"}],
            "targets": [{"name": "research", "type": "folder", "path": "/x"}],
        },
    )
    gateway.ledger.record(
        DeliveryRouted(
            delivery="p-research",
            parcel="p",
            target="research",
            protocol="folder",
            rules=(),
            instances=2,
            revision=1,
            at=1.0,
        )
    )
    gateway.ledger.record(
        DeliveryFinished(
            delivery="p-research",
            state=DeliveryState.HELD,
            delivered=0,
            warnings=0,
            missing=2,
            reason="<script>alert(1)</script>",
            at=2.0,
        )
    )
    gateway.ledger.record(ParcelHeld(parcel="q", reason="no rule wanted it", at=3.0))
    text = gateway.http.get("/").text
    assert "X&lt;b&gt;" in text
    assert "&lt;script&gt;" in text
    assert "no rule wanted it" in text
    assert "crossdock deliveries retry p-research" in text


ACCOUNT = {"user": "gw", "password": {"env": "PW"}}
WHERE = {
    "pacs.lan:104": {"type": "dicom", "host": "pacs.lan", "port": 104, "called_ae_title": "P"},
    "login.hpc:22": {"type": "rsync", "host": "login.hpc", "path": "in", **ACCOUNT},
    "sftp.lan:22": {"type": "sftp", "host": "sftp.lan", "path": "in", **ACCOUNT},
    "/data/folder": {"type": "folder", "path": "/data/folder"},
    "my-bucket": {"type": "s3", "bucket": "my-bucket"},
    "https://web.lan/dicom-web": {"type": "dicomweb", "url": "https://web.lan/dicom-web"},
    "https://xnat.lan": {"type": "xnat", "url": "https://xnat.lan", "project": "P", **ACCOUNT},
}


def test_the_page_says_of_every_target_where_it_is(gateway):
    targets = [{"name": f"t{n}", **each} for n, each in enumerate(WHERE.values())]
    assert gateway.http.put("/api/v1/gateway", json={"targets": targets}).status_code == 200
    text = gateway.http.get("/").text
    assert [where for where in WHERE if where not in text] == []


def test_services_get_the_configuration_only_when_theirs_is_another(gateway):
    publisher = Publisher(gateway.parts.configuration)
    assert publisher.respond(ConfigRequested(service="x")).document == {}
    gateway.http.post("/api/v1/targets", json={"name": "research", "type": "folder", "path": "/x"})
    published = publisher.respond(ConfigRequested(service="x", revision=1))
    assert published.revision == 2
    assert published.document["targets"][0]["name"] == "research"
    assert publisher.respond(ConfigRequested(service="x", revision=2)).document is None
    assert publisher.respond(ConfigRequested(service="x", revision=9)).document is not None


def test_a_revision_of_another_database_is_not_taken_for_the_one_of_the_same_number(gateway):
    publisher = Publisher(gateway.parts.configuration)
    node = {"name": "n", "ae_title": "X", "port": 104, "accept": "any"}
    gateway.http.put("/api/v1/gateway", json={"store_nodes": [node]}).raise_for_status()
    published = publisher.respond(ConfigRequested(service="x"))
    known = ConfigRequested(service="x", revision=published.revision, made_at=published.made_at)
    assert publisher.respond(known).document is None
    other = known.model_copy(update={"made_at": published.made_at - 3600.0})
    assert publisher.respond(other).document == published.document


def test_a_lost_database_takes_the_configuration_from_nobody(gateway):
    publisher = Publisher(gateway.parts.configuration)
    assert publisher.respond(ConfigRequested(service="x", revision=41)).document is None
