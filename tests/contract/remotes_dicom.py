"""The peers of DICOM over TLS: storescp, and pynetdicom where a peer must misbehave."""

import atexit
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from contract.remotes import Answers, Connected, Guarded, make_target, scripted, speaking
from crossdock.config.targets import Target
from crossdock.dicom.tls import TlsFiles, server_context
from crossdock.protocols import Outgoing
from ports import free_port
from servers.certificates import Authority, Issued
from servers.dcmtk import storescp


class DicomTlsRemote(Guarded, Connected):
    """A storescp that wants a certificate of us."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._authority, self._server, self._client = _pki()
        shown = (str(self._server.key), str(self._server.certificate))
        options = ("+B", "+xa", "+tls", *shown, "+cf", str(self._authority.certificate), "-rc")
        self._scp = self.stack.enter_context(storescp(directory / "scp", *options))

    def target(self, **changes: object) -> Target:
        return make_target(
            {
                "type": "dicom+tls",
                "host": "127.0.0.1",
                "port": self._scp.port,
                "called_ae_title": "PEER",
                "tls": {
                    "ca": str(self._authority.certificate),
                    "certificate": str(self._client.certificate),
                    "key": str(self._client.key),
                },
                **changes,
            }
        )

    def files(self) -> list[Path]:
        return self._scp.files()

    def absent(self) -> Target:
        return self.target(port=free_port())

    def misnamed(self) -> Target:
        port = self._scripted([], require_called_aet=True)
        return self.target(port=port, called_ae_title="WRONG")

    def refusing(self, outgoing: Outgoing) -> Target:
        return self.target(port=self._scripted({outgoing.instance.sop_instance_uid: 0xA900}))

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        port = self._scripted([0x0000] * after + ["abort"])
        return self.target(port=port), lambda _number: None

    def unauthorised(self) -> Target:
        return self.target(port=self._scripted([], require_calling_aet=["SOMEBODY"]))

    def hanging(self) -> Target:
        return self.target(port=self.stack.enter_context(speaking(b"")), timeout=0.5)

    def _scripted(self, answers: Answers, **settings: object) -> int:
        files = TlsFiles(
            certificate=str(self._server.certificate),
            key=str(self._server.key),
            ca=str(self._authority.certificate),
            client_certificate="required",
        )
        peer = scripted(answers, tls=server_context(files), **settings)
        return self.stack.enter_context(peer)


_directory = tempfile.TemporaryDirectory()
atexit.register(_directory.cleanup)


@cache
def _pki() -> tuple[Authority, Issued, Issued]:
    """Return a CA and a certificate for each side, made once for all tests."""
    authority = Authority(Path(_directory.name))
    server = authority.issue("peer", alternative="DNS:localhost,IP:127.0.0.1")
    return authority, server, authority.issue("crossdock")
