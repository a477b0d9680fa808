"""TLS with DCMTK, both ways, and everything that two sides may disagree about."""

import os
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from contract.remotes import dicom_target, outgoing_of
from crossdock.config.targets import Target
from crossdock.dicom.errors import AssociationAborted, TlsFailed, TlsMisconfigured
from crossdock.dicom.storage_scu import StorageScu
from crossdock.dicom.tls import ServerContext, TlsFiles, client_context
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckStage, Outcome
from crossdock.protocols import adapter_for
from servers.certificates import Authority, Issued
from servers.dcmtk import run, storescp
from servers.keeper import Keeper, keeping
from servers.samples import sample
from studies import make_ct
from waiting import until


CT = sample("CT_small.dcm")
LOCAL = "DNS:localhost,IP:127.0.0.1"
VERIFICATION = ("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])


@dataclass(frozen=True, slots=True)
class Pki:
    """All the certificates of these tests."""

    ca: Path
    other_ca: Path
    node: Issued
    sender: Issued
    expired: Issued
    elsewhere: Issued
    stranger: Issued

    @property
    def server(self) -> TlsFiles:
        """A port that wants certificates of its senders."""
        files = self.one_way
        return replace(files, ca=str(self.ca), client_certificate="required")

    @property
    def one_way(self) -> TlsFiles:
        """A port that asks for nothing."""
        return TlsFiles(certificate=str(self.node.certificate), key=str(self.node.key))

    def client(self, issued: Issued | None = None) -> TlsFiles:
        """A client that trusts the CA and shows a certificate, if any."""
        if issued is None:
            return TlsFiles(ca=str(self.ca))
        return TlsFiles(ca=str(self.ca), certificate=str(issued.certificate), key=str(issued.key))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    directory = tmp_path_factory.mktemp("pki")
    authority = Authority(directory / "ours")
    others = Authority(directory / "others", "Other CA")
    return Pki(
        ca=authority.certificate,
        other_ca=others.certificate,
        node=authority.issue("node", alternative=LOCAL),
        sender=authority.issue("ct1.hospital"),
        expired=authority.issue("old", alternative=LOCAL, days=-1),
        elsewhere=authority.issue("elsewhere"),
        stranger=others.issue("stranger", alternative=LOCAL),
    )


def storescu(port: int, *options: object) -> str:
    done = run("storescu", "-to", "10", "-ta", "10", "-xe", *options, "127.0.0.1", port, CT)
    return "" if done.returncode == 0 else done.stdout or "failed"


def showing(issued: Issued) -> tuple[object, ...]:
    return "+tls", issued.key, issued.certificate


@contextmanager
def tls_storescp(directory: Path, pki: Pki, issued: Issued, *options: object) -> Iterator[int]:
    """Run storescp with TLS; it requires a certificate of the CA unless told otherwise."""
    words = map(str, (*showing(issued), "+cf", pki.ca, *options))
    with storescp(directory, *words) as peer:
        yield peer.port


def secured(port: int, files: TlsFiles, **changes: object) -> Target:
    tls = {
        name: getattr(files, name)
        for name in ("ca", "certificate", "key", "check_hostname", "minimum_version")
    }
    return dicom_target(port, type="dicom+tls", tls=tls, timeout=10, **changes)


def deliver(target: Target, directory: Path) -> list[Outcome]:
    with adapter_for(target) as adapter:
        return [each.outcome for each in adapter.send(outgoing_of(make_ct(directory, 2)))]


def failure(target: Target, directory: Path) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        deliver(target, directory)
    return raised.value


def stages(target: Target) -> dict[str, CheckStage]:
    with adapter_for(target) as adapter:
        return {stage.name: stage for stage in adapter.check().stages}


def test_storescu_with_a_certificate_of_the_ca_is_known_by_its_names(pki: Pki) -> None:
    keeper = Keeper()
    with keeping(keeper, tls=ServerContext(pki.server)) as scp:
        assert storescu(scp.address[1], *showing(pki.sender), "+cf", pki.ca) == ""
        until(lambda: keeper.balanced and keeper.over)
    assert len(keeper.committed) == 1
    assert keeper.admitted[0].certificate == ("ct1.hospital",)


def test_senders_without_a_good_certificate_do_not_come_in(pki: Pki) -> None:
    keeper = Keeper()
    with keeping(keeper, tls=ServerContext(pki.server)) as scp:
        port = scp.address[1]
        assert storescu(port, "+tla", "-ic")
        assert storescu(port, *showing(pki.expired), "-ic")
        assert storescu(port, *showing(pki.stranger), "-ic")
        assert storescu(port)
        assert storescu(port, *showing(pki.sender), "+cf", pki.ca) == ""
    assert [caller.certificate for caller in keeper.admitted] == [("ct1.hospital",)]


def test_an_optional_certificate_may_be_left_out_and_must_be_good(pki: Pki) -> None:
    keeper = Keeper()
    optional = replace(pki.server, client_certificate="optional")
    with keeping(keeper, tls=ServerContext(optional)) as scp:
        assert storescu(scp.address[1], "+tla", "+cf", pki.ca) == ""
        assert storescu(scp.address[1], *showing(pki.stranger), "-ic")
        until(lambda: keeper.balanced and keeper.over)
    assert [caller.certificate for caller in keeper.admitted] == [()]


def test_a_delivery_to_storescp_over_tls_arrives(pki: Pki, tmp_path: Path) -> None:
    with tls_storescp(tmp_path / "scp", pki, pki.node) as port:
        target = secured(port, pki.client(pki.sender))
        assert deliver(target, tmp_path / "ct") == [Outcome.DELIVERED] * 2
        found = stages(target)
    assert {stage.state for name, stage in found.items() if name != "ping"} == {"ok"}
    assert list(found) == ["resolve", "ping", "connect", "tls", "associate", "echo", "storage"]
    words = found["tls"].detail
    assert "TLSv1." in words
    assert "commonName=node, issued by commonName=Test CA" in words
    assert "expires in 89 days" in words
    assert found["tls"].certificate_days == 89


@pytest.mark.parametrize(
    ("server", "trusting", "words"),
    [
        ("expired", "ca", "certificate has expired"),
        ("node", "other_ca", "is the CA that signed it in our ca file"),
        ("elsewhere", "ca", "not valid for '127.0.0.1'"),
    ],
)
def test_a_peer_whose_certificate_is_no_good_gets_nothing(
    pki: Pki, tmp_path: Path, server: str, trusting: str, words: str
) -> None:
    with tls_storescp(tmp_path / "scp", pki, getattr(pki, server), "-ic") as port:
        target = secured(port, TlsFiles(ca=str(getattr(pki, trusting))))
        error = failure(target, tmp_path / "ct")
        found = stages(target)
    assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)
    assert words in error.detail
    assert (found["connect"].state, found["tls"].state) == ("ok", "failed")
    assert words in found["tls"].detail
    assert found["tls"].advice


def test_the_host_name_need_not_be_checked(pki: Pki, tmp_path: Path) -> None:
    with tls_storescp(tmp_path / "scp", pki, pki.elsewhere) as port:
        files = replace(pki.client(pki.sender), check_hostname=False)
        assert deliver(secured(port, files), tmp_path / "ct") == [Outcome.DELIVERED] * 2


@pytest.mark.parametrize("show", ["nothing", "stranger"])
def test_a_peer_that_wants_another_certificate_of_us_is_told_apart(
    pki: Pki, tmp_path: Path, show: str
) -> None:
    shown = None if show == "nothing" else pki.stranger
    with keeping(Keeper(), tls=ServerContext(pki.server)) as scp:
        error = failure(secured(scp.address[1], pki.client(shown)), tmp_path / "ct")
    assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)
    assert "our certificate" in error.detail or "a certificate of us" in error.detail


def test_tls_towards_a_plain_port_says_so(pki: Pki, tmp_path: Path) -> None:
    with keeping(Keeper()) as scp:
        error = failure(secured(scp.address[1], pki.client()), tmp_path / "ct")
    assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)
    assert "does not speak TLS" in error.detail


def test_a_check_says_which_type_the_peer_wants(pki: Pki, tmp_path: Path) -> None:
    with keeping(Keeper()) as plain, tls_storescp(tmp_path, pki, pki.node) as secure:
        at_plain = stages(secured(plain.address[1], pki.client()))["tls"]
        at_secure = stages(dicom_target(secure, timeout=10))["associate"]
    assert at_plain.detail == "connected, but the peer answers in DICOM without TLS"
    assert "choose the type dicom," in at_plain.advice
    assert at_secure.detail == "connected, but the peer answers in TLS"
    assert "choose the type dicom+tls" in at_secure.advice


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_check_knows_every_server_of_tls(pki: Pki, version: Literal["1.2", "1.3"]) -> None:
    files = replace(pki.server, minimum_version=version)
    with keeping(Keeper(), tls=ServerContext(files)) as scp:
        found = stages(dicom_target(scp.address[1], timeout=10))["associate"]
    assert found.detail == "connected, but the peer answers in TLS"


def test_plain_towards_a_tls_port_ends_at_once(pki: Pki) -> None:
    titles = {"called_ae_title": "PEER", "calling_ae_title": "US"}
    with (
        keeping(Keeper(), tls=ServerContext(pki.one_way)) as scp,
        StorageScu("127.0.0.1", scp.address[1], **titles) as scu,  # type: ignore[arg-type]  # str
        pytest.raises(AssociationAborted),
    ):
        scu.associate([VERIFICATION])


def test_a_tls_handshake_on_a_plain_port_ends_at_once(pki: Pki) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        context = client_context(pki.client())
        with (
            socket.create_connection(scp.address, timeout=10) as sock,
            pytest.raises(OSError),  # noqa: PT011 — reset, or what TLS makes of an abort
        ):
            context.wrap_socket(sock, server_hostname="localhost")
        until(lambda: scp.associations() == 0)
    assert keeper.admitted == []


def test_a_handshake_that_never_comes_ends_in_time(pki: Pki) -> None:
    with (
        keeping(Keeper(), tls=ServerContext(pki.server), acse_timeout=0.3) as scp,
        socket.create_connection(scp.address, timeout=10) as sock,
    ):
        while sock.recv(4096):
            pass


def test_an_old_tls_version_is_not_spoken(pki: Pki) -> None:
    only_new = replace(pki.one_way, minimum_version="1.3")
    with keeping(Keeper(), tls=ServerContext(only_new)) as scp:
        client = ssl.create_default_context(cafile=pki.ca)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(scp.address, timeout=10) as sock,
            pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"),
        ):
            client.wrap_socket(sock, server_hostname="localhost")


def test_a_weak_cipher_suite_is_not_spoken(pki: Pki) -> None:
    with keeping(Keeper(), tls=ServerContext(pki.one_way)) as scp:
        client = ssl.create_default_context(cafile=pki.ca)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers("AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA256")
        with (
            socket.create_connection(scp.address, timeout=10) as sock,
            pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"),
        ):
            client.wrap_socket(sock, server_hostname="localhost")


def serial_of(port: int, ca: Path) -> object:
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as secure,
    ):
        return (secure.getpeercert() or {})["serialNumber"]


def replace_files(at: Issued, by: Issued) -> None:
    """Put other files in place, each at once, as certificate managers do."""
    for old, new in ((at.key, by.key), (at.certificate, by.certificate)):
        shutil.copy(new, old.with_suffix(".new"))
        os.replace(old.with_suffix(".new"), old)  # noqa: PTH105 — both are the same


def test_new_associations_get_a_new_certificate_and_running_ones_go_on(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    current = authority.issue("node", alternative=LOCAL)
    renewed = authority.issue("renewed", alternative=LOCAL)
    files = TlsFiles(certificate=str(current.certificate), key=str(current.key))
    client = client_context(TlsFiles(ca=str(authority.certificate)))
    with keeping(Keeper(), tls=ServerContext(files)) as scp:
        port = scp.address[1]
        with StorageScu(
            "127.0.0.1", port, called_ae_title="PEER", calling_ae_title="US", tls=client
        ) as scu:
            scu.associate([VERIFICATION])
            first = serial_of(port, authority.certificate)
            replace_files(current, renewed)
            second = serial_of(port, authority.certificate)
            assert scu.echo() == 0
            current.certificate.write_text("half a certificate")
            third = serial_of(port, authority.certificate)
    assert first != second
    assert second == third


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"certificate": "/nowhere/node.pem"}, "certificate /nowhere/node.pem: No such file"),
        ({"key": "/nowhere/node.key"}, "key /nowhere/node.key: No such file"),
        ({"key": "OTHER"}, "do not belong together"),
        ({"ca": "KEY"}, "ca "),
        ({"certificate": "KEY"}, "certificate "),
    ],
)
def test_files_that_cannot_be_used_are_named(pki: Pki, changes: dict[str, str], words: str) -> None:
    places = {"OTHER": str(pki.sender.key), "KEY": str(pki.node.key)}
    files = replace(pki.server, **{k: places.get(v, v) for k, v in changes.items()})  # type: ignore[arg-type]  # paths
    with pytest.raises(TlsMisconfigured) as caught:
        ServerContext(files)
    assert words in str(caught.value)


def test_a_key_with_a_password_is_opened_by_the_file_that_holds_it(tmp_path: Path) -> None:
    issued = Authority(tmp_path / "ca").issue("locked", alternative=LOCAL, password="open sesame")
    files = TlsFiles(certificate=str(issued.certificate), key=str(issued.key))
    with pytest.raises(TlsMisconfigured, match="needs a password"):
        ServerContext(files)
    word = tmp_path / "word"
    word.write_text("wrong\n")
    with pytest.raises(TlsMisconfigured, match="cannot be opened with its password"):
        ServerContext(replace(files, key_password_file=str(word)))
    word.write_text("open sesame\n")
    ServerContext(replace(files, key_password_file=str(word)))


def test_missing_files_of_a_target_are_told_by_check_and_delivery(tmp_path: Path) -> None:
    with keeping(Keeper()) as scp:
        target = secured(scp.address[1], TlsFiles(ca="/nowhere/ca.pem"))
        error = failure(target, tmp_path / "ct")
        found = stages(target)
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "/nowhere/ca.pem" in error.detail
    assert "/nowhere/ca.pem" in found["connect"].detail
    assert "dispatcher" in found["connect"].advice


def test_a_client_without_a_ca_of_its_own_trusts_those_of_the_system(pki: Pki) -> None:
    with (
        keeping(Keeper(), tls=ServerContext(pki.one_way)) as scp,
        StorageScu(
            "127.0.0.1",
            scp.address[1],
            called_ae_title="PEER",
            calling_ae_title="US",
            tls=client_context(TlsFiles()),
        ) as scu,
        pytest.raises(TlsFailed, match="certificate not trusted"),
    ):
        scu.associate([VERIFICATION])
