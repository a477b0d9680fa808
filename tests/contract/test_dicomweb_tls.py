"""DICOMweb over TLS: whom we trust, whom the server trusts, HTTP/2, and what a check says of it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.dicomweb_fixtures import check, failed, failure_of, reaching, send, series, states
from contract.remotes import make_target
from crossdock.config.targets import Target
from crossdock.errors import ErrorKind
from servers.certificates import Authority, Issued
from servers.http2 import http2_server
from servers.orthanc import orthanc
from servers.stow import Reply, StowServer, TokenServer, stow_server
from servers.stunnel import stunnel
from studies import by_uid


HERE = "DNS:localhost,IP:127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Issued:
    """The server's certificate."""
    return authority.issue("localhost", alternative=HERE)


@pytest.fixture(scope="module")
def client(authority: Authority) -> Issued:
    return authority.issue("gateway")


def context(issued: Issued, clients: Authority | None = None) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(issued.certificate, issued.key)
    if clients is not None:
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(clients.certificate)
    return tls


@contextmanager
def secure(issued: Issued, clients: Authority | None = None) -> Iterator[StowServer]:
    with stow_server(StowServer(), tls=context(issued, clients)) as server:
        yield server


def trusting(server: StowServer, authority: Authority, **tls: Any) -> Target:
    return reaching(server, tls={"ca": str(authority.certificate), **tls})


def test_our_own_ca_is_trusted_and_a_check_looks_at_the_certificate(
    authority: Authority, own: Issued, tmp_path: Path
) -> None:
    with secure(own) as server:
        target = trusting(server, authority)
        outgoing = series(tmp_path, 3)
        assert all(outcome.confirmed for outcome in send(target, outgoing))
        report = check(target)
        assert server.connections <= 4
    assert report.green
    (stage,) = [stage for stage in report.stages if stage.name == "tls"]
    assert "TLSv1.3" in stage.detail
    assert "commonName=localhost, issued by commonName=Test CA" in stage.detail
    assert "expires in 89 days" in stage.detail


def test_without_the_ca_nothing_is_sent(own: Issued, tmp_path: Path) -> None:
    with secure(own) as server:
        target = reaching(server, bearer="secret")
        error = failure_of(target, series(tmp_path, 1))
        assert failed(target).name == "tls"
        assert server.asked == []
    assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)
    assert "not trusted" in error.detail
    assert "our ca file" in error.detail


def test_every_fault_of_a_certificate_is_told_apart(authority: Authority, tmp_path: Path) -> None:
    expired = authority.issue("expired", alternative=HERE, days=-1)
    elsewhere = authority.issue("elsewhere.example")
    foreign = Authority(tmp_path / "foreign", "Foreign CA").issue("foreign", alternative=HERE)
    said = []
    for issued in (expired, elsewhere, foreign):
        with secure(issued) as server:
            stage = failed(trusting(server, authority))
            error = failure_of(trusting(server, authority), series(tmp_path / issued.key.stem, 1))
        assert stage.name == "tls"
        assert error.kind is ErrorKind.MISCONFIGURED
        assert stage.detail in error.detail
        said.append(stage.detail)
    assert "expired" in said[0]
    assert "127.0.0.1" in said[1]
    assert len(set(said)) == 3
    with secure(elsewhere) as server:
        assert check(trusting(server, authority, check_hostname=False)).green


def test_a_server_that_wants_a_certificate_of_us_gets_it(
    authority: Authority, own: Issued, client: Issued, tmp_path: Path
) -> None:
    with secure(own, clients=authority) as server:
        paths = {"certificate": str(client.certificate), "key": str(client.key)}
        target = trusting(server, authority, **paths)
        assert check(target).green
        assert all(outcome.confirmed for outcome in send(target, series(tmp_path / "a", 2)))
        bare = trusting(server, authority)
        error = failure_of(bare, series(tmp_path / "b", 2, size=4_000_000))
        stage = failed(bare)
    assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)
    assert "requires a certificate" in error.detail
    assert "requires a certificate" in stage.detail


def test_files_of_ours_that_cannot_be_used_are_named(own: Issued, tmp_path: Path) -> None:
    with secure(own) as server:
        target = reaching(server, tls={"ca": "/no/such/ca.pem"})
        error = failure_of(target, series(tmp_path, 1))
        stage = failed(target)
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "/no/such/ca.pem" in error.detail
    assert "/no/such/ca.pem" in stage.detail


def test_https_to_a_server_without_is_told(tmp_path: Path) -> None:
    with stow_server(StowServer()) as server:
        target = reaching(server, url=server.url.replace("http:", "https:"))
        assert "does not speak TLS" in failure_of(target, series(tmp_path, 1)).detail
        assert failed(target).name == "tls"


def test_an_early_answer_over_tls_is_heard(
    authority: Authority, own: Issued, tmp_path: Path
) -> None:
    with secure(own) as server:
        server.early = lambda _asked: Reply(503, headers={"Retry-After": "5"}, drain=False)
        error = failure_of(trusting(server, authority), series(tmp_path, 4, size=8_000_000))
    assert (error.kind, error.retry_after) == (ErrorKind.BUSY, 5)


def test_a_token_server_is_trusted_by_its_own_ca_and_never_sees_our_certificate(
    authority: Authority, own: Issued, client: Issued, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "Other CA")
    tokens = TokenServer("gateway", "secret")
    issued = other.issue("token", alternative=HERE)
    with (
        secure(own, clients=authority) as server,
        stow_server(StowServer(), tls=context(issued), tokens=tokens) as token_server,
    ):
        server.login = tokens.login
        oauth2 = {
            "token_url": f"https://127.0.0.1:{token_server.port}/token",
            "client_id": "gateway",
            "client_secret": "secret",
            "ca": str(other.certificate),
        }
        tls = {
            "ca": str(authority.certificate),
            "certificate": str(client.certificate),
            "key": str(client.key),
        }
        outgoing = series(tmp_path / "ct", 1)
        assert send(reaching(server, oauth2=oauth2, tls=tls), outgoing)[0].confirmed
        error = failure_of(reaching(server, oauth2={**oauth2, "ca": None}, tls=tls), outgoing)
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "token server" in error.detail


def test_a_proxy_lets_tls_through(authority: Authority, own: Issued, tmp_path: Path) -> None:
    with secure(own) as server, stow_server(StowServer()) as proxy:
        through = {"host": "127.0.0.1", "port": proxy.port}
        target = reaching(server, tls={"ca": str(authority.certificate)}, proxy=through)
        assert all(outcome.confirmed for outcome in send(target, series(tmp_path / "a", 2)))
        assert states(target)["tls"] == "skipped"
        assert check(target).green
        proxy.early = lambda _asked: Reply(407)
        error = failure_of(target, series(tmp_path / "b", 1))
    assert error.kind is ErrorKind.UNAUTHORISED
    assert "proxy" in error.detail


def test_http2_is_spoken_where_it_is_asked_for(
    authority: Authority, own: Issued, tmp_path: Path
) -> None:
    with http2_server(StowServer(), context(own)) as server:
        tls = {"ca": str(authority.certificate)}
        target = reaching(server, tls=tls, http2=True, connections=4, batch_instances=2)
        outgoing = series(tmp_path, 9, size=200_000)
        outcomes = send(target, outgoing)
        assert [outcome.number for outcome in outcomes] == list(range(1, 10))
        assert all(outcome.confirmed for outcome in outcomes)
        assert server.connections <= 4
        assert check(target).green
        server.early = lambda _asked: Reply(429, headers={"Retry-After": "3"})
        assert failure_of(target, outgoing).kind is ErrorKind.BUSY


def test_orthanc_behind_stunnel_wants_a_user_and_a_certificate(
    authority: Authority, own: Issued, client: Issued, tmp_path: Path
) -> None:
    user = ("gateway", "password")
    with (
        orthanc(tmp_path / "orthanc", dicomweb=True, user=user) as peer,
        stunnel(tmp_path / "stunnel", peer.http_port, own, authority.certificate) as port,
    ):
        tls = {
            "ca": str(authority.certificate),
            "certificate": str(client.certificate),
            "key": str(client.key),
        }
        settings: dict[str, Any] = {
            "type": "dicomweb",
            "url": f"https://localhost:{port}/dicom-web",
            "basic": {"user": "gateway", "password": "password"},
        }
        target = make_target({**settings, "tls": tls})
        assert check(target).green
        outgoing = series(tmp_path / "ct", 5)
        assert all(outcome.confirmed for outcome in send(target, outgoing))
        received = [peer.fetch(each, tmp_path) for each in peer.instances()]
        assert by_uid(received) == by_uid([each.path for each in outgoing])
        bare = make_target({**settings, "tls": {"ca": tls["ca"]}})
        assert failure_of(bare, outgoing).kind is ErrorKind.MISCONFIGURED
