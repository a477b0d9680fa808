"""Who may ask, what a browser may be made to ask, and what errors give away."""

import json
import socket

import pytest

from config_api.options import options_from, refusal_to_listen
from crossdock.settings import from_environment
from waiting import until


FOLDER = {"name": "research", "type": "folder", "path": "/data/research"}


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path / 'crossdock.sqlite'}"


@pytest.fixture
def http(gateway):
    return gateway.http


@pytest.fixture
def guarded(start, database):
    return start(database, token="s3cret").http


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/v1/targets", "/healthz", "/metrics"])
def test_another_name_for_this_machine_is_refused(http, path, host):
    answer = http.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost", "localhost:99", "127.0.0.1", "[::1]:8080"])
def test_loopback_names_are_answered(http, host):
    assert http.get("/api/v1/targets", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_changes_nothing(http, headers):
    for method, path in (
        ("POST", "targets"),
        ("PUT", "gateway"),
        ("POST", "deliveries/p-a/retry"),
        ("DELETE", "targets/research"),
    ):
        answer = http.request(method, f"/api/v1/{path}", json=FOLDER, headers=headers)
        assert answer.status_code == 403
    assert http.get("/api/v1/targets").json()["items"] == []


def test_the_own_site_may(http):
    origin = str(http.base_url).rstrip("/")
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert http.post("/api/v1/targets", json=FOLDER, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_form_is_no_request(http, kind):
    for path in ("targets", "deliveries/p-a/retry"):
        answer = http.post(
            f"/api/v1/{path}", content=json.dumps(FOLDER), headers={"Content-Type": kind}
        )
        assert answer.status_code == 415


def test_a_token_is_asked_for_everywhere_but_health_and_metrics(guarded):
    for path in ("/", "/api/v1/targets", "/api/v1/openapi.json", "/nowhere"):
        answer = guarded.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "CROSSDOCK_API_TOKEN" in answer.json()["detail"]
    for path in ("/healthz", "/readyz", "/metrics"):
        assert guarded.get(path).status_code == 200


@pytest.mark.parametrize("wrong", ["Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "é"])
def test_only_the_right_token_opens(guarded, wrong):
    headers = {"Authorization": wrong.encode()}
    assert guarded.get("/api/v1/targets", headers=headers).status_code == 401


def test_the_right_token_opens_under_any_name(guarded):
    headers = {"Authorization": "Bearer s3cret", "Host": "gateway.example"}
    assert guarded.get("/api/v1/targets", headers=headers).status_code == 200
    assert guarded.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("environment", "may"),
    [
        ({"CROSSDOCK_HTTP": "127.0.0.1:0"}, True),
        ({"CROSSDOCK_HTTP": "localhost:0"}, True),
        ({"CROSSDOCK_HTTP": "[::1]:0"}, True),
        ({"CROSSDOCK_HTTP": "0.0.0.0:0"}, False),
        ({"CROSSDOCK_HTTP": ":0"}, False),
        ({"CROSSDOCK_HTTP": "10.0.0.1:0"}, False),
        ({"CROSSDOCK_HTTP": "gateway.example:0"}, False),
        ({"CROSSDOCK_HTTP": "0.0.0.0:0", "CROSSDOCK_API_TOKEN": "x"}, True),
    ],
)
def test_without_a_token_only_loopback_is_listened_on(environment, may):
    refusal = refusal_to_listen(from_environment(environment))
    assert (refusal is None) == may
    assert may or "CROSSDOCK_API_TOKEN" in refusal


def test_days_that_are_no_number_are_refused():
    assert options_from({"CROSSDOCK_LEDGER_DAYS": "0"}).ledger_days == 0
    with pytest.raises(ValueError, match="CROSSDOCK_LEDGER_DAYS"):
        options_from({"CROSSDOCK_LEDGER_DAYS": "-1"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/api/v1/targets/", 404),
        ("GET", "/docs", 404),
        ("PUT", "/api/v1/targets", 405),
        ("GET", "/api/v1/revisions/abc", 422),
        ("GET", "/api/v1/revisions/99999999999999999999", 422),
        ("GET", "/api/v1/targets/" + "x" * 101, 422),
    ],
)
def test_every_error_is_a_problem(http, method, path, status):
    answer = http.request(method, path, json={} if method == "PUT" else None)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["title"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b'{"port": NaN}', 400),
        (b"[" * 100_000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"name": "\\ud800", "type": "folder", "path": "/x"}', 422),
    ],
)
def test_a_body_that_is_no_json_object_is_a_problem(http, content, status):
    headers = {"Content-Type": "application/json"}
    answer = http.post("/api/v1/targets", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_lone_surrogate_in_a_free_text_is_refused_or_kept_harmlessly(http):
    headers = {"Content-Type": "application/json"}
    body = b'{"name": "x", "type": "folder", "path": "/x", "description": "\\ud800"}'
    assert http.post("/api/v1/targets", content=body, headers=headers).status_code == 422


def test_a_body_without_end_is_cut_off(http):
    body = b'{"description": "' + b"x" * 11_000_000
    headers = {"Content-Type": "application/json"}
    assert http.post("/api/v1/targets", content=body, headers=headers).status_code == 413


def test_our_own_bug_shows_nothing_of_its_insides(gateway, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("hunter2")

    monkeypatch.setattr("config_api.configuration.Configuration.current", broken)
    answer = gateway.http.get("/api/v1/targets")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in answer.text


def test_a_request_that_is_no_http_harms_nobody(gateway):
    with socket.create_connection((gateway.http.base_url.host, gateway.http.base_url.port)) as s:
        s.sendall(b"\x01\x00\x00\x00\x00\xcd\r\n\r\n")
        s.settimeout(10)
        assert until(lambda: s.recv(100) is not None)
    assert gateway.http.get("/healthz").status_code == 200


def test_the_page_can_load_and_run_nothing(http):
    answer = http.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "<script" not in answer.text
    assert "http://" not in answer.text
    assert "https://" not in answer.text
