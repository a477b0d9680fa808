from typing import Any

import pytest

from crossdock.config.snapshot import parse_object
from crossdock.config.targets import DicomwebTarget
from crossdock.errors import ConfigError


@pytest.fixture(autouse=True)
def _own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", "k" * 32)


def parsed(**changes: Any) -> DicomwebTarget:
    settings = {"name": "cloud", "type": "dicomweb", "url": "https://pacs.example/dicom-web"}
    target = parse_object("targets", {**settings, **changes})
    assert isinstance(target, DicomwebTarget)
    return target


BASIC = {"user": "gateway", "password": "secret"}
OAUTH2 = {"token_url": "https://login.example/token", "client_id": "a", "client_secret": "b"}

LEGAL: list[dict[str, Any]] = [
    {"url": "http://10.0.0.5:8042/dicom-web/"},
    {"url": "https://[fe80::1]:8443"},
    {"url": "https://pacs_1.example/a/b%20c"},
    {"url": "file:///data/research"},
    {"url": "file:///data/%C3%BC"},
    {"url": "file://localhost/data"},
    {"stow_prefix": "/rs/stow/"},
    {"basic": BASIC},
    {"bearer": {"env": "TOKEN"}},
    {"oauth2": {**OAUTH2, "token_url": "https://login.example/t?p=policy"}},
    {"oauth2": OAUTH2, "headers": {"X-Site": "1"}},
    {"tls": {}},
    {"proxy": {"host": "proxy", "port": 3128}},
    {"direction": "both"},
]


@pytest.mark.parametrize("changes", LEGAL)
def test_what_is_legal_is_taken_and_comes_back_from_what_is_written(changes: Any) -> None:
    target = parsed(**changes)
    written = target.model_dump(mode="json", exclude_defaults=True)
    assert (
        parse_object("targets", written).model_dump(mode="json", exclude_defaults=True) == written
    )


ILLEGAL: list[tuple[dict[str, Any], str]] = [
    ({"url": ""}, "url"),
    ({"url": "pacs.example"}, "url"),
    ({"url": "ftp://pacs.example/"}, "url"),
    ({"url": "https:///dicom-web"}, "url"),
    ({"url": "https://pacs.example:99999/"}, "url"),
    ({"url": "https://pacs.example:0/"}, "url"),
    ({"url": "https://user:pass@pacs.example/"}, "url"),
    ({"url": "https://pacs.example/?a=b"}, "url"),
    ({"url": "https://pacs.example/#a"}, "url"),
    ({"url": "https://pacs example/"}, "url"),
    ({"url": "https://pacs.example/\r\nX: 1"}, "url"),
    ({"url": "https://-bad-/"}, "url"),
    ({"url": "file:relative"}, "url"),
    ({"url": "file://share/data"}, "url"),
    ({"url": "file:///data?x"}, "url"),
    ({"url": "file:///a%00b"}, "url"),
    ({"url": "file:///data", "direction": "query"}, "url"),
    ({"url": "file:///data", "basic": BASIC}, "basic"),
    ({"url": "file:///data", "tls": {}}, "tls"),
    ({"url": "file:///data", "proxy": {"host": "p", "port": 1}}, "proxy"),
    ({"url": "http://pacs.example", "tls": {}}, "tls"),
    ({"stow_prefix": "../up"}, "stow_prefix"),
    ({"qido_prefix": "a?b"}, "qido_prefix"),
    ({"wado_prefix": "http://else.example"}, "wado_prefix"),
    ({"basic": {"user": "a:b", "password": "c"}}, "basic.user"),
    ({"basic": {"user": "", "password": "c"}}, "basic.user"),
    ({"basic": {"user": "a"}}, "basic.password"),
    ({"basic": {"user": "a", "password": "b\nc"}}, "basic.password"),
    ({"bearer": "a\r\nX: 1"}, "bearer"),
    ({"basic": BASIC, "bearer": "a"}, "bearer"),
    ({"bearer": "a", "oauth2": OAUTH2}, "oauth2"),
    ({"bearer": "a", "headers": {"AUTHORIZATION": "b"}}, "headers"),
    ({"oauth2": {**OAUTH2, "token_url": "login.example"}}, "oauth2.token_url"),
    ({"oauth2": {**OAUTH2, "scope": "a\nb"}}, "oauth2.scope"),
    ({"oauth2": {**OAUTH2, "ca": "relative.pem"}}, "oauth2.ca"),
    ({"headers": {"bad name": "a"}}, "headers"),
    ({"headers": {"X": "a", "x": "b"}}, "headers"),
    ({"headers": {"Content-Length": "1"}}, "headers"),
    ({"headers": {"Host": "other"}}, "headers"),
    ({"headers": {"X-A": "a\nb"}}, "headers.X-A"),
    ({"headers": {f"X-{number}": "a" for number in range(60)}}, "headers"),
    ({"headers": "X-A: 1"}, "headers"),
    ({"headers": "<key>A</key>"}, "headers"),
    ({"headers": "<key>A</key><value>1</value> and more"}, "headers"),
    ({"headers": "<key>A</key><value>1</value><key>A</key><value>2</value>"}, "headers"),
    ({"proxy": {"host": "p", "port": 1, "user": "a"}}, "proxy"),
    ({"connections": 0}, "connections"),
    ({"batch_instances": 0}, "batch_instances"),
    ({"batch_bytes": 0}, "batch_bytes"),
    ({"timeout": 0}, "timeout"),
    ({"host": "pacs.example"}, "host"),
]


@pytest.mark.parametrize(("changes", "field"), ILLEGAL)
def test_what_is_illegal_is_refused_by_its_field(changes: Any, field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parsed(**changes)
    assert [problem.field for problem in raised.value.problems] == [field]
    assert "pass@" not in str(raised.value)


def test_karnaks_text_of_headers_is_understood() -> None:
    text = (
        "<key>Authorization</key>\n<value>Bearer a b</value>\n<key>X-Site</key><value>1</value>\n"
    )
    headers = parsed(headers=text).headers
    assert {name: value.reveal() for name, value in headers.items()} == {
        "Authorization": "Bearer a b",
        "X-Site": "1",
    }


def test_no_secret_shows() -> None:
    shown = []
    for changes in (
        {"basic": {"user": "a", "password": "hunter2"}},
        {"bearer": "hunter2"},
        {"oauth2": {**OAUTH2, "client_secret": "hunter2"}},
        {"headers": {"X-Key": "hunter2"}},
        {"proxy": {"host": "p", "port": 1, "user": "a", "password": "hunter2"}},
    ):
        target = parsed(**changes)
        shown += [repr(target), str(target), target.model_dump_json(), str(target.model_dump())]
    assert not [text for text in shown if "hunter2" in text]


def test_the_services_are_below_the_url() -> None:
    target = parsed(url="https://pacs.example/dicom-web/", stow_prefix="stow")
    assert target.resource(target.stow_prefix, "studies") == (
        "https://pacs.example/dicom-web/stow/studies"
    )
    assert target.resource(target.qido_prefix, "studies") == (
        "https://pacs.example/dicom-web/studies"
    )
