"""Who a DICOMweb target says that we are: users, tokens, headers, proxies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.dicomweb_fixtures import check, failed, failure_of, reaching, send, series
from crossdock.config.targets import Target
from crossdock.errors import ErrorKind
from crossdock.protocols import adapter_for
from servers.stow import Reply, StowServer, TokenServer, basic, stow_server


CLIENT, SECRET = "gateway", "s3cret/+&=ü"


@pytest.fixture
def tokens() -> TokenServer:
    return TokenServer(CLIENT, SECRET)


@pytest.fixture
def server(tokens: TokenServer) -> Iterator[StowServer]:
    with stow_server(StowServer(), tokens=tokens) as server:
        yield server


@pytest.fixture
def guarded(server: StowServer, tokens: TokenServer) -> StowServer:
    """The server, which wants a token."""
    server.login = tokens.login
    return server


def with_tokens(server: StowServer, **changes: Any) -> Target:
    settings = {
        "token_url": f"{server.scheme}://127.0.0.1:{server.port}/token",
        "client_id": CLIENT,
        "client_secret": SECRET,
    }
    return reaching(server, oauth2={**settings, **changes})


def test_a_user_and_a_password_are_sent_at_once(server: StowServer, tmp_path: Path) -> None:
    server.login = basic("jürgen", "pass:wörd")
    target = reaching(server, basic={"user": "jürgen", "password": "pass:wörd"})
    assert all(outcome.confirmed for outcome in send(target, series(tmp_path, 2)))
    assert len(server.asked) == 1
    report = check(target)
    assert report.green
    assert [stage.detail for stage in report.stages if stage.name == "authenticate"] == [
        "as jürgen: the server answers"
    ]


def test_a_fixed_token_is_sent(server: StowServer, tmp_path: Path) -> None:
    server.login = lambda header: header == "Bearer abc"
    assert all(each.confirmed for each in send(reaching(server, bearer="abc"), series(tmp_path, 1)))
    error = failure_of(reaching(server, bearer="abd"), series(tmp_path / "more", 1))
    assert error.kind is ErrorKind.UNAUTHORISED


def test_a_secret_may_be_where_the_dispatcher_runs(
    server: StowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.login = lambda header: header == "Bearer abc"
    target = reaching(server, bearer={"env": "PACS_TOKEN"})
    outgoing = series(tmp_path, 1)
    error = failure_of(target, outgoing)
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "PACS_TOKEN" in error.detail
    assert failed(target).name == "authenticate"
    monkeypatch.setenv("PACS_TOKEN", "abc")
    assert all(each.confirmed for each in send(target, outgoing))
    monkeypatch.setenv("PACS_TOKEN", "abc\r\nX-Evil: 1")
    error = failure_of(target, outgoing)
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "Evil" not in error.detail


def test_headers_go_with_each_request_and_karnaks_text_is_understood(
    server: StowServer, tmp_path: Path
) -> None:
    text = "<key>Authorization</key>\n<value>Bearer abc</value>\n<key>X-Site</key>\n<value>Zürich</value>"
    send(reaching(server, headers=text), series(tmp_path, 1))
    send(reaching(server, headers={"Authorization": "Bearer abc", "X-Site": "Zürich"}), [])
    (asked,) = server.asked
    assert asked.headers["authorization"] == "Bearer abc"
    assert asked.headers["x-site"].encode("latin-1").decode() == "Zürich"


@pytest.mark.parametrize("place", ["header", "body"])
def test_a_token_is_fetched_once_and_used_for_all(
    guarded: StowServer, tokens: TokenServer, tmp_path: Path, place: str
) -> None:
    target = with_tokens(guarded, credentials_in=place, scope="dicom.write other")
    with adapter_for(target) as adapter:
        assert all(each.confirmed for each in adapter.send(series(tmp_path / "a", 3)))
        assert all(each.confirmed for each in adapter.send(series(tmp_path / "b", 3)))
    assert tokens.given == ["token-1"]
    assert tokens.scopes == ["dicom.write other"]
    assert check(target).green


def test_a_token_that_the_server_does_not_take_any_more_is_renewed_once(
    guarded: StowServer, tokens: TokenServer, tmp_path: Path
) -> None:
    with adapter_for(with_tokens(guarded)) as adapter:
        assert all(each.confirmed for each in adapter.send(series(tmp_path / "a", 1)))
        tokens.good.clear()
        assert all(each.confirmed for each in adapter.send(series(tmp_path / "b", 1)))
    assert tokens.given == ["token-1", "token-2"]


def test_a_token_that_is_never_taken_is_a_wrong_login(
    server: StowServer, tokens: TokenServer, tmp_path: Path
) -> None:
    server.login = lambda _header: False
    error = failure_of(with_tokens(server), series(tmp_path, 1))
    assert (error.kind, error.temporary) == (ErrorKind.UNAUTHORISED, False)
    assert len(tokens.given) == 2


def test_a_token_is_renewed_before_it_expires(
    guarded: StowServer, tokens: TokenServer, tmp_path: Path
) -> None:
    tokens.seconds = 1e-6
    target = with_tokens(guarded)
    with adapter_for(target) as adapter:
        assert all(each.confirmed for each in adapter.send(series(tmp_path / "a", 1)))
        assert all(each.confirmed for each in adapter.send(series(tmp_path / "b", 1)))
    assert len(tokens.given) == 2
    assert all(asked.headers["authorization"] for asked in guarded.asked)


def test_a_wrong_client_secret_is_named(guarded: StowServer, tmp_path: Path) -> None:
    target = with_tokens(guarded, client_secret="wrong")
    error = failure_of(target, series(tmp_path, 1))
    assert (error.kind, error.temporary) == (ErrorKind.UNAUTHORISED, False)
    assert "client_secret" in error.detail
    stage = failed(target)
    assert stage.name == "authenticate"
    assert "token server" in stage.detail
    assert guarded.asked == []


TROUBLES = [
    (Reply(503, headers={"Retry-After": "9"}), ErrorKind.BUSY, True),
    (Reply(500), ErrorKind.UNREACHABLE, True),
    (Reply(404), ErrorKind.MISCONFIGURED, False),
    (Reply(200, b"<html>", "text/html"), ErrorKind.MISCONFIGURED, False),
    (Reply(200, b'{"access_token": "a b\\r\\nc"}'), ErrorKind.MISCONFIGURED, False),
    (Reply(200, b'{"access_token": 7}'), ErrorKind.MISCONFIGURED, False),
    (Reply(200, b"[" * 100_000), ErrorKind.MISCONFIGURED, False),
    (Reply(400, b'{"error": "invalid_scope"}'), ErrorKind.MISCONFIGURED, False),
    (Reply(400, b'{"error": {"a": 1}}'), ErrorKind.MISCONFIGURED, False),
    (Reply(0, None), ErrorKind.UNREACHABLE, True),
]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_a_token_server_says_is_understood(
    guarded: StowServer,
    tokens: TokenServer,
    tmp_path: Path,
    trouble: tuple[Reply, ErrorKind, bool],
) -> None:
    tokens.fails, kind, temporary = trouble
    error = failure_of(with_tokens(guarded), series(tmp_path, 1))
    assert (error.kind, error.temporary) == (kind, temporary)
    assert "token server" in error.detail
    assert SECRET not in str(error)
    assert error.retry_after == (9 if tokens.fails.status == 503 else None)


def test_a_life_that_is_no_number_is_as_good_as_none(
    guarded: StowServer, tokens: TokenServer, tmp_path: Path
) -> None:
    tokens.good.add("abc")
    for life in (b'"soon"', b'"60"', b"null", b"-3", b"1e400", b"NaN"):
        tokens.fails = Reply(200, b'{"access_token": "abc", "expires_in": ' + life + b"}")
        assert send(with_tokens(guarded), series(tmp_path / life.hex(), 1))[0].confirmed


def test_a_proxy_is_gone_through_with_its_own_login(server: StowServer, tmp_path: Path) -> None:
    proxy = {"host": "127.0.0.1", "port": server.port, "user": "me", "password": "proxy-pass"}
    target = reaching(server, url="http://pacs.example/dicom-web", proxy=proxy)
    assert all(each.confirmed for each in send(target, series(tmp_path, 1)))
    (asked,) = server.asked
    assert asked.headers["host"] == "pacs.example"
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert check(target).green
    server.early = lambda _asked: Reply(407)
    assert failure_of(target, series(tmp_path / "more", 1)).kind is ErrorKind.UNAUTHORISED


def test_the_environments_proxies_are_of_no_concern(
    server: StowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert all(each.confirmed for each in send(reaching(server), series(tmp_path, 1)))
