"""XNAT over TLS: an own CA, and what is wrong with certificates."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contract.remotes import make_target, outgoing_of
from crossdock.config.targets import Target
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.protocols import adapter_for
from servers.certificates import Authority
from servers.xnat import xnat
from servers.xnat_state import PASSWORD, PROJECT, USER
from studies import make_ct


NAMES = "DNS:localhost,IP:127.0.0.1"


class Secured:
    """Servers with certificates of a CA of ours, and settings that reach them."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.authority = Authority(directory / "ca")
        self._stack = stack

    def target(self, alternative: str = NAMES, days: int = 90, **tls: object) -> Target:
        issued = self.authority.issue("server", alternative=alternative, days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        server = self._stack.enter_context(xnat(self.directory / "xnat", context))
        settings = {"ca": str(self.authority.certificate), **tls}
        return make_target(
            {
                "type": "xnat",
                "url": server.url,
                "user": USER,
                "password": PASSWORD,
                "project": PROJECT,
                "tls": settings,
            }
        )


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    with ExitStack() as stack:
        yield Secured(tmp_path, stack)


def test_a_certificate_of_our_own_ca_will_do(secured: Secured, tmp_path: Path) -> None:
    with adapter_for(secured.target()) as adapter:
        report = adapter.check()
        assert report.green, report
        assert all(each.confirmed for each in adapter.send(outgoing_of(make_ct(tmp_path, 8))))
    (stage,) = [stage for stage in report.stages if stage.name == "tls"]
    assert stage.detail.startswith("TLSv1.")
    assert "Test CA" in stage.detail
    assert report.certificate_days in (89, 90)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"ca": None}, "not trusted"),
        ({"days": -1}, "expired"),
        ({"alternative": "DNS:elsewhere"}, "mismatch"),
        ({"ca": "/not/there.pem"}, "/not/there.pem"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said(
    secured: Secured, tmp_path: Path, fault: dict[str, object], said: str
) -> None:
    target = secured.target(**fault)  # type: ignore[arg-type]  # of several types
    with adapter_for(target) as adapter:
        failed = adapter.check().failure
        assert failed is not None
        assert failed.name == "tls"
        assert said in failed.detail
        with pytest.raises(DeliveryError) as raised:
            list(adapter.send(outgoing_of(make_ct(tmp_path / "ct", 1))))
    assert raised.value.kind is ErrorKind.MISCONFIGURED
    assert said in raised.value.detail
