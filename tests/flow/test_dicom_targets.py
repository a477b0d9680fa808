"""The story of DICOM targets and a plug-in's: configured by the API, sent to by a modality."""

import ssl
import subprocess
from pathlib import Path

from pydicom import dcmread

from contract.plugins import installed
from crossdock.dicom.tls import TlsFiles, server_context
from ports import free_port
from running import Running, running
from servers import require
from servers.certificates import Authority
from servers.keeper import Keeper, keeping
from studies import by_uid, make_ct
from waiting import until


def _configure(crossdock: Running, targets: list[dict[str, object]], port: int) -> None:
    node = {"name": "main", "ae_title": "CROSSDOCK", "port": port, "accept": "any"}
    rule = {"name": "all", "targets": [target["name"] for target in targets]}
    for kind, objects in (("targets", targets), ("store-nodes", [node]), ("rules", [rule])):
        for each in objects:
            answer = crossdock.api.post(f"/api/v1/{kind}", json=each)
            assert answer.is_success, answer.text


def _dcmsend(port: int, calling: str, paths: list[Path]) -> bool:
    command = [require("dcmsend"), "-aet", calling, "-aec", "CROSSDOCK", "127.0.0.1", str(port)]
    return subprocess.run([*command, *map(str, paths)], capture_output=True).returncode == 0  # noqa: PLW1510


def _context(authority: Authority) -> ssl.SSLContext:
    issued = authority.issue("peer", alternative="IP:127.0.0.1")
    return server_context(TlsFiles(certificate=str(issued.certificate), key=str(issued.key)))


def test_a_study_reaches_the_targets_of_each_type_as_who_sent_it(tmp_path: Path) -> None:
    plain, secure = Keeper(), Keeper()
    authority = Authority(tmp_path / "ca")
    context = _context(authority)
    drawer = tmp_path / "drawer"
    drawer.mkdir()
    environment = {"PYTHONPATH": installed(tmp_path / "site", "good", "broken")["PYTHONPATH"]}
    sent = make_ct(tmp_path / "ct", 5)
    with (
        keeping(plain) as archive,
        keeping(secure, tls=lambda: context) as vault,
        running(tmp_path / "data", None, None, **environment) as crossdock,
    ):
        common = {"host": "127.0.0.1", "called_ae_title": "PACS", "pass_calling_ae_title": True}
        port = free_port()
        targets: list[dict[str, object]] = [
            {"name": "archive", "type": "dicom", "port": archive.address[1], **common},
            {
                "name": "vault",
                "type": "dicom+tls",
                "port": vault.address[1],
                "tls": {"ca": str(authority.certificate)},
                **common,
            },
            {"name": "drawer", "type": "drawer", "path": str(drawer)},
        ]
        _configure(crossdock, targets, port)
        until(crossdock.ready, what="all of it is in force")
        assert _dcmsend(port, "CT.1 A", sent)
        until(
            lambda: [row["state"] for row in crossdock.deliveries()] == ["delivered"] * 3,
            what="all deliveries",
        )
        protocols = {row["target"]: row["protocol"] for row in crossdock.deliveries()}
        checked = crossdock.api.post("/api/v1/targets/vault/check").json()
        described = crossdock.api.get("/api/v1/openapi.json").json()["components"]["schemas"]
        metrics = crossdock.api.get("/metrics").text
    assert protocols == {"archive": "dicom", "vault": "dicom+tls", "drawer": "drawer"}
    assert set(by_uid([*drawer.glob("*.dcm")])) == set(by_uid(sent))
    for keeper in (plain, secure):
        assert set(keeper.committed) == set(by_uid(sent))
        titles = {
            (kept.caller.calling_ae_title, kept.caller.called_ae_title) for kept in keeper.instances
        }
        assert titles == {("CT.1 A", "PACS")}
    assert [stage["name"] for stage in checked["report"]["stages"]][-1] == "storage"
    assert all(stage["state"] != "failed" for stage in checked["report"]["stages"])
    assert {"DicomTarget", "DicomTlsTarget", "DrawerTarget"} <= set(described)
    assert metrics
    log = crossdock.log.read_text()
    assert "no licence for this machine" in log  # the broken one, and the gateway ran
    assert str(dcmread(sent[0]).PatientName) not in log
