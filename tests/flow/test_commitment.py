"""The story of storage commitment, with Orthanc on both sides."""

import subprocess
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread

from ports import free_port
from running import Running, running
from servers import require
from servers.orthanc import Orthanc, orthanc
from studies import make_ct
from waiting import until


def _gateway(port: int, target: dict[str, Any], **node: Any) -> dict[str, Any]:
    listening = {"name": "main", "ae_title": "CROSSDOCK", "port": port, "accept": "any"}
    common = {"name": "archive", "type": "dicom", "host": "127.0.0.1"}
    return {
        "store_nodes": [listening | node],
        "targets": [common | {"delivered_means": "committed"} | target],
        "rules": [{"name": "all", "targets": ["archive"]}],
    }


def _send(port: int, paths: list[Path]) -> None:
    command = [require("dcmsend"), "-aet", "CT1", "-aec", "CROSSDOCK", "127.0.0.1", str(port)]
    subprocess.run([*command, *map(str, paths)], check=True, capture_output=True)


def _row(crossdock: Running) -> dict[str, Any]:
    rows = crossdock.deliveries()
    return rows[0] if rows else {"state": "", "reason": ""}


def _asked(archive: Orthanc, references: list[list[str]]) -> httpx.Response:
    """Have Orthanc ask the gateway for commitment."""
    return archive.http.post(
        "/modalities/crossdock/storage-commitment", json={"DicomInstances": references}
    )


def _outcome(archive: Orthanc, transaction: str) -> dict[str, Any]:
    answer: dict[str, Any] = archive.http.get(f"/storage-commitment/{transaction}").json()
    return answer if answer["Status"] != "Pending" else {}


def test_orthanc_commits_itself_to_us_and_we_to_orthanc(tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 3)
    port = free_port()
    with orthanc(tmp_path / "orthanc") as archive:
        peer = {"AET": "CROSSDOCK", "Host": "127.0.0.1", "Port": port}
        archive.http.put("/modalities/crossdock", json=peer).raise_for_status()
        target = {
            "port": archive.dicom_port,
            "called_ae_title": "ORTHANC",
            "commitment": {"listen": "main", "same_association_seconds": 0},
        }
        node = {"commitment": {"targets": 1, "port": archive.dicom_port}}
        with running(tmp_path / "data", _gateway(port, target, **node)) as crossdock:
            checked = crossdock.api.post("/api/v1/targets/archive/check").json()
            _send(port, paths)
            until(lambda: _row(crossdock)["state"] == "delivered", what="committed")
            row = _row(crossdock)
            references = [
                [str(ds.SOPClassUID), str(ds.SOPInstanceUID)] for ds in map(dcmread, paths)
            ]
            strange = [references[0][0], "1.2.3.4.5"]
            transaction = _asked(archive, [*references, strange]).json()["ID"]
            outcome = until(lambda: _outcome(archive, transaction), what="our result")
    assert checked["report"]["stages"][-1]["detail"] == "the peer takes storage commitment"
    assert row["reason"] == "committed by ORTHANC"
    assert outcome["Status"] == "Failure"
    assert sorted(each["SOPInstanceUID"] for each in outcome["Success"]) == sorted(
        uid for _, uid in references
    )
    (failure,) = outcome["Failures"]
    assert (failure["SOPInstanceUID"], failure["FailureReason"]) == ("1.2.3.4.5", 0x0112)
