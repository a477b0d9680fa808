"""What is known of targets: their last checks, and since when they are green or red."""

import itertools

import pytest

from config_api.checks import KEPT
from crossdock.messages import CheckFinished, TargetChanged
from crossdock.model import CheckReport, CheckStage


FOLDER = {"name": "research", "type": "folder", "path": "/data/research"}
GREEN = CheckStage(name="write", state="ok", detail="a file could be written")
RED = CheckStage(name="write", state="failed", detail="no <space> left\0", advice="make room")


def finished(at: float, stage: CheckStage = GREEN, target: str = "research") -> CheckFinished:
    report = CheckReport(stages=(stage,))
    return CheckFinished(target=target, report=report, at=at, protocol="folder", seconds=0.5)


@pytest.fixture
def http(gateway):
    gateway.http.post("/api/v1/targets", json=FOLDER).raise_for_status()
    return gateway.http


def items(http, path: str) -> list[dict]:
    answer = http.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_the_checks_of_a_target_are_listed_newest_first(gateway, http):
    for at in (100.0, 300.0, 200.0, 300.0):
        gateway.ledger.handle(finished(at, RED if at == 200.0 else GREEN))
    found = items(http, "targets/research/checks")
    assert [each["at"] for each in found] == [
        "1970-01-01T00:05:00Z",
        "1970-01-01T00:03:20Z",
        "1970-01-01T00:01:40Z",
    ]
    assert [each["green"] for each in found] == [True, False, True]
    assert found[1]["report"]["stages"][0]["advice"] == "make room"
    assert found[0]["seconds"] == 0.5
    assert len(items(http, "targets/research/checks?limit=2")) == 2
    assert http.get("/api/v1/targets/research/checks?limit=0").status_code == 422
    assert http.get("/api/v1/targets/nowhere/checks").status_code == 404


def test_only_the_newest_are_kept(gateway, http):
    for at in range(1, KEPT + 6):
        gateway.ledger.handle(finished(float(at)))
    gateway.ledger.handle(finished(1000.0, target="other"))
    found = items(http, "targets/research/checks")
    assert len(found) == KEPT
    assert found[-1]["at"] == "1970-01-01T00:00:06Z"


FACTS = (
    finished(100.0),
    TargetChanged(target="research", green=True, at=100.0),
    TargetChanged(target="research", green=False, reason="write: no space left", at=200.0),
    finished(200.0, RED),
    finished(300.0, RED),
)


@pytest.mark.parametrize("number", range(0, 120, 17))
def test_how_a_target_stands_depends_on_no_order(gateway, http, number):
    facts = list(itertools.permutations(FACTS))[number]
    for fact in (*facts, *facts):
        gateway.ledger.handle(fact)
    (standing,) = items(http, "checks")
    assert standing["green"] is False
    assert standing["at"] == "1970-01-01T00:05:00Z"
    assert standing["report"]["stages"][0]["name"] == "write"


def test_since_when_a_target_is_red_is_known(gateway, http):
    for fact in FACTS:
        gateway.ledger.handle(fact)
    (standing,) = items(http, "checks")
    assert standing["since"] == "1970-01-01T00:03:20Z"
    gateway.ledger.handle(finished(400.0))
    gateway.ledger.handle(TargetChanged(target="research", green=True, at=500.0))
    (standing,) = items(http, "checks")
    assert standing["since"] == "1970-01-01T00:06:40Z"


def test_what_is_known_of_a_target_goes_with_it(gateway, http):
    gateway.ledger.handle(finished(100.0))
    gateway.ledger.handle(finished(100.0, target="never-configured"))
    assert [each["target"] for each in items(http, "checks")] == ["research"]
    assert http.delete("/api/v1/targets/research").status_code == 204
    assert items(http, "checks") == []
    http.post("/api/v1/targets", json=FOLDER).raise_for_status()
    assert items(http, "targets/research/checks") == []


def test_the_page_shows_how_targets_stand_and_what_to_do(gateway, http):
    assert "not checked yet" in http.get("/").text
    gateway.ledger.handle(finished(100.0))
    assert "● green" in http.get("/").text
    gateway.ledger.handle(finished(200.0, RED))
    page = http.get("/").text
    assert "● red" in page
    assert "no &lt;space&gt; left" in page
    assert "make room" in page
