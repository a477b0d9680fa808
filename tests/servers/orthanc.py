"""A real Orthanc of our own: private ports, private directory, plug-ins only if asked for."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ports import free_port
from servers import require
from waiting import until


PLUGINS = "/usr/share/orthanc/plugins"
_ATTEMPTS = 5


class Orthanc:
    """A running Orthanc, as AE title ORTHANC."""

    def __init__(self, dicom_port: int, http_port: int, user: tuple[str, str] | None) -> None:
        self.dicom_port = dicom_port
        self.http_port = http_port
        self.user = user
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", auth=user, timeout=120.0)

    @property
    def dicomweb(self) -> str:
        """Where its DICOMweb services are, if it has them."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def instances(self) -> list[str]:
        """Its own identifiers of what it has."""
        found: list[str] = self.http.get("/instances").json()
        return found

    def file(self, instance: str) -> bytes:
        """One of its instances as a DICOM file."""
        return self.http.get(f"/instances/{instance}/file").content

    def fetch(self, instance: str, directory: Path) -> Path:
        """Write one of its instances to a file of its own."""
        path = directory / f"{instance}.dcm"
        with (
            self.http.stream("GET", f"/instances/{instance}/file") as answer,
            path.open("wb") as to,
        ):
            for block in answer.iter_bytes():
                to.write(block)
        return path

    def keep(self, path: Path) -> str:
        """Give it a file over HTTP; return its own identifier of it."""
        answer = self.http.post("/instances", content=path.read_bytes())
        assert answer.status_code == 200, answer.text
        return str(answer.json()["ID"])

    def forget_all(self) -> None:
        for instance in self.instances():
            self.http.delete(f"/instances/{instance}")

    def send(self, instances: list[str], port: int, called: str) -> httpx.Response:
        """Have it send instances to a storage SCP on this machine, and wait for the end."""
        peer: dict[str, Any] = {"AET": called, "Host": "127.0.0.1", "Port": port}
        self.http.put("/modalities/peer", json=peer).raise_for_status()
        wanted = {"Resources": instances, "Synchronous": True}
        return self.http.post("/modalities/peer/store", json=wanted)

    def answers(self) -> bool:
        try:
            return self.http.get("/system").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def orthanc(
    directory: Path, *, dicomweb: bool = False, user: tuple[str, str] | None = None
) -> Iterator[Orthanc]:
    """Run Orthanc on free ports; it cannot bind port 0, so others are tried if that fails."""
    program = require("Orthanc")
    plugins = [require("libOrthancDicomWeb.so", PLUGINS)] if dicomweb else []
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        server = Orthanc(free_port(), free_port(), user)
        configuration = directory / "orthanc.json"
        configuration.write_text(json.dumps(_settings(directory, server, plugins)))
        with (directory / "log").open("ab") as log:
            process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log)
        try:
            until(lambda: server.answers() or process.poll() is not None, what="Orthanc")  # noqa: B023 — waited for at once
            if process.poll() is None:
                yield server
                return
        finally:
            server.http.close()
            process.kill()  # asked to end it takes seconds, and nothing of it is to be kept
            process.wait(60)
    pytest.fail("Orthanc does not start")


def _settings(directory: Path, server: Orthanc, plugins: list[str]) -> dict[str, Any]:
    return {
        "Name": "peer",
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "storage"),
        "HttpPort": server.http_port,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": server.user is not None,
        "RegisteredUsers": dict([server.user] if server.user else []),
        "DicomPort": server.dicom_port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "OverwriteInstances": True,
        "UnknownSopClassAccepted": True,
        "SaveJobs": False,
        "Plugins": plugins,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
