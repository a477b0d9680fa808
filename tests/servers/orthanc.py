"""A real Orthanc of our own: private ports, private directory, no plug-ins."""

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


_ATTEMPTS = 5


class Orthanc:
    """A running Orthanc, as AE title ORTHANC."""

    def __init__(self, dicom_port: int, http_port: int) -> None:
        self.dicom_port = dicom_port
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=20.0)

    def instances(self) -> list[str]:
        """Its own identifiers of what it has."""
        found: list[str] = self.http.get("/instances").json()
        return found

    def file(self, instance: str) -> bytes:
        """One of its instances as a DICOM file."""
        return self.http.get(f"/instances/{instance}/file").content

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
def orthanc(directory: Path) -> Iterator[Orthanc]:
    """Run Orthanc on free ports; it cannot bind port 0, so others are tried if that fails."""
    program = require("Orthanc")
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        server = Orthanc(free_port(), free_port())
        configuration = directory / "orthanc.json"
        configuration.write_text(json.dumps(_settings(directory, server)))
        with (directory / "log").open("ab") as log:
            process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log)
        try:
            until(lambda: server.answers() or process.poll() is not None, what="Orthanc")  # noqa: B023 — waited for at once
            if process.poll() is None:
                yield server
                return
        finally:
            server.http.close()
            process.terminate()
            process.wait(20)
    pytest.fail("Orthanc does not start")


def _settings(directory: Path, server: Orthanc) -> dict[str, Any]:
    return {
        "Name": "peer",
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "storage"),
        "HttpPort": server.http.base_url.port,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": server.dicom_port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "OverwriteInstances": True,
        "UnknownSopClassAccepted": True,
        "SaveJobs": False,
        "Plugins": [],
    }
