"""A DICOMweb peer: Orthanc with its plug-in, and a server of our own where it must misbehave."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contract.remotes import Connected, Secretive, make_target, speaking
from crossdock.config.targets import Target
from crossdock.protocols import Outgoing
from servers.orthanc import orthanc
from servers.stow import Asked, Reply, StowServer, stow_server


USER, PASSWORD = "gateway", "open-sesame-7"
_WRONG = "open-sesame-8"
_TOKEN = "a-token-that-nobody-knows"


class DicomwebRemote(Secretive, Connected):
    """Orthanc behind a user and a password."""

    secrets = (PASSWORD, _WRONG, _TOKEN)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        peer = orthanc(directory / "orthanc", dicomweb=True, user=(USER, PASSWORD))
        self._orthanc = self.stack.enter_context(peer)

    def target(self, **changes: object) -> Target:
        settings: dict[str, Any] = {"url": self._orthanc.dicomweb, "basic": login(PASSWORD)}
        return dicomweb_target(**{**settings, **changes})

    def files(self) -> list[Path]:
        kept = self.directory / "received"
        kept.mkdir(exist_ok=True)
        return [self._orthanc.fetch(each, kept) for each in self._orthanc.instances()]

    def absent(self) -> Target:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        return self.target(url=f"http://127.0.0.1:{port}/dicom-web")

    def misnamed(self) -> Target:
        return self.target(url=f"{self._orthanc.dicomweb}/no/such/place")

    def refusing(self, outgoing: Outgoing) -> Target:
        server = self.stack.enter_context(stow_server(StowServer()))
        server.refused = {outgoing.instance.sop_instance_uid: 0xA900}
        return dicomweb_target(url=server.url, bearer=_TOKEN)

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        server = self.stack.enter_context(stow_server(StowServer()))

        def gone(_asked: Asked) -> Reply | None:
            return Reply(0, None) if len(server.instances) >= after else None

        server.early = gone
        target = dicomweb_target(url=server.url, batch_instances=1, connections=1)
        return target, lambda _number: None

    def unauthorised(self) -> Target:
        return self.target(basic=login(_WRONG))

    def hanging(self) -> Target:
        port = self.stack.enter_context(speaking(b""))
        return dicomweb_target(url=f"http://127.0.0.1:{port}", timeout=0.5, connect_timeout=0.5)


def login(password: str) -> dict[str, str]:
    """Return a user and a password as settings."""
    return {"user": USER, "password": password}


def dicomweb_target(**settings: Any) -> Target:
    """Return settings of a DICOMweb target."""
    return make_target({"type": "dicomweb", **settings})
