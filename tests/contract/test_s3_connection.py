"""How the S3 adapter gets to a store: certificates, credentials, addresses."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import SHUT_RDWR, create_server
from typing import Any

import pytest

from contract.remotes import outgoing_of
from contract.remotes_s3 import S3Remote
from contract.test_s3_adapter import check, failure_of, send, stage
from crossdock.errors import ErrorKind
from servers.certificates import Authority, Issued
from servers.relay import relay
from servers.seaweedfs import WRITER
from studies import by_uid, make_ct


ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_CA_BUNDLE",
    "HTTP_PROXY",
    "http_proxy",
)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Remote]:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with S3Remote(tmp_path) as remote:
        yield remote


def test_https_is_used_where_the_endpoint_says_so(remote: S3Remote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 3)
    target = remote.target(endpoint=remote.store.https_url, ca=str(remote.store.ca))
    report = check(target)
    assert report.green
    said = stage(report, "tls")
    assert "TLSv1.3" in said
    assert "127.0.0.1" in said
    assert "issued by commonName=Test CA, expires in 89 days" in said
    assert all(each.confirmed for each in send(target, outgoing_of(paths)))
    assert remote.received() == by_uid(paths)


@contextmanager
def tls_server(issued: Issued) -> Iterator[int]:
    """Run a server that shakes hands and hangs up; yield its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)

    def serve() -> None:
        with suppress(OSError):  # the test is over
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True):
                    pass

    with create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("certificate", "ca", "words"),
    [
        ({"alternative": "IP:127.0.0.1", "days": -1}, "tls", "certificate has expired"),
        ({"alternative": "DNS:elsewhere"}, "tls", "IP address mismatch"),
        ({"alternative": "IP:127.0.0.1"}, "other", "is the CA that signed it in our ca file?"),
    ],
)
def test_a_certificate_that_is_no_good_is_told_how(
    remote: S3Remote, tmp_path: Path, certificate: dict[str, Any], ca: str, words: str
) -> None:
    authorities = {name: Authority(tmp_path / name, f"{name} CA") for name in ("tls", "other")}
    issued = authorities["tls"].issue("store", **certificate)
    trusted = str(authorities[ca].certificate)
    with tls_server(issued) as port:
        target = remote.target(endpoint=f"https://127.0.0.1:{port}", ca=trusted)
        assert words in stage(check(target), "tls")
        error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)
    assert words in error.detail


def test_the_system_does_not_trust_just_anybody(remote: S3Remote, tmp_path: Path) -> None:
    target = remote.target(endpoint=remote.store.https_url)
    assert "certificate not trusted" in stage(check(target), "tls")
    error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert error.kind is ErrorKind.MISCONFIGURED


def test_a_port_without_tls_is_told(remote: S3Remote, tmp_path: Path) -> None:
    endpoint = remote.store.url.replace("http:", "https:")
    target = remote.target(endpoint=endpoint, ca=str(remote.store.ca))
    assert "does not speak TLS" in stage(check(target), "tls")
    error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "does not speak TLS" in error.detail


def test_a_ca_that_is_not_there_is_named(remote: S3Remote, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    target = remote.target(endpoint=remote.store.https_url, ca=missing)
    assert missing in stage(check(target), "tls")
    error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert missing in error.detail


def test_credentials_may_be_those_of_the_environment(
    remote: S3Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = remote.target(access_key=None, secret_key=None)
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    error = failure_of(target, outgoing)
    assert error.kind is ErrorKind.UNAUTHORISED
    assert "no credentials are found" in error.detail
    assert "no credentials are found" in stage(check(target), "authenticate")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", WRITER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRITER[1])
    assert check(target).green
    assert send(target, outgoing)[0].confirmed


def test_a_profile_that_is_not_there_is_told(
    remote: S3Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    target = remote.target(access_key=None, secret_key=None)
    assert "ProfileNotFound" in stage(check(target), "authenticate")
    error = failure_of(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert error.kind is ErrorKind.MISCONFIGURED


def test_a_secret_may_come_from_the_environment_and_be_mended_there(
    remote: S3Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = remote.target(secret_key={"env": "STORE_SECRET"})
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    error = failure_of(target, outgoing)
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "STORE_SECRET is not set" in error.detail
    assert "STORE_SECRET is not set" in stage(check(target), "authenticate")
    monkeypatch.setenv("STORE_SECRET", WRITER[1])
    assert send(target, outgoing)[0].confirmed


def test_a_proxy_of_the_environment_is_used(
    remote: S3Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with relay(remote.store.url) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        target = remote.target()
        assert stage(check(target), "connect").startswith("skipped: through the proxy")
        assert send(target, outgoing_of(make_ct(tmp_path / "ct", 1)))[0].confirmed
    assert proxy.counted("PUT") == 3


def test_a_host_that_is_not_there_is_told(remote: S3Remote) -> None:
    target = remote.target(endpoint="http://no-such-host.invalid:9000")
    assert "no-such-host.invalid" in stage(check(target), "resolve")
