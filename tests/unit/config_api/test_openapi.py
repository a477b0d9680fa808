"""The OpenAPI description: complete, and true for whatever is sent."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)


CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
WHOLE = {
    "store_nodes": [{"name": "0", "ae_title": "X", "port": 11112, "accept": "any"}],
    "targets": [{"name": "0", "type": "folder", "path": "/x"}],
    "rules": [{"name": "0", "targets": ["0"]}],
}


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path / 'crossdock.sqlite'}"


@pytest.fixture
def description(gateway, monkeypatch):
    monkeypatch.setattr("config_api.web.requests._TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr("config_api.web.checks._TIMEOUT_SECONDS", 0.01)
    gateway.http.put("/api/v1/gateway", json=WHOLE)
    url = f"{gateway.http.base_url}/api/v1/openapi.json"
    return schemathesis.openapi.from_url(url)


def test_every_route_is_described_with_its_problems(gateway):
    described = gateway.http.get("/api/v1/openapi.json").json()
    assert set(described["paths"]) == {
        f"/api/v1/{path}"
        for path in (
            "secrets/reseal", "store-nodes", "store-nodes/{name}", "targets", "targets/{name}", "rules",
            "rules/{name}", "targets/{name}/check", "targets/{name}/checks", "checks",
            "targets/{name}/waiting", "deliveries",
            "deliveries/{identifier}", "deliveries/{identifier}/retry",
            "deliveries/{identifier}/discard", "parcels", "parcels/{identifier}",
            "parcels/{identifier}/route", "parcels/{identifier}/discard", "revisions",
            "revisions/{number}", "revisions/{number}/restore", "gateway",
            "standings", "audit", "deliveries/retry", "deliveries/discard",
            "deliveries/{identifier}/move", "parcels/{identifier}/send", "targets/{name}/pause", "targets/{name}/resume",
        )
    }  # fmt: skip
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert {"401", "422", "503"} <= operation["responses"].keys()
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in str(described)


@pytest.mark.filterwarnings("ignore")  # schemathesis' own dependencies
def test_every_answer_is_as_described(description):
    for result in description.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy())
        def check(case):
            case.call_and_validate(checks=CHECKS)

        check()
