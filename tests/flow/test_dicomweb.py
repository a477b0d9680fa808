"""The story of a study that goes to a DICOMweb server, set up as an operator does."""

import subprocess
from pathlib import Path

from ports import free_port
from running import running
from servers import require
from servers.orthanc import orthanc
from studies import by_uid, make_ct
from waiting import until


USER, PASSWORD = "gateway", "open-sesame-9"


def test_a_study_reaches_a_dicomweb_target_that_was_set_up_through_the_api(tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 5)
    node = {"name": "main", "ae_title": "CROSSDOCK", "port": free_port(), "accept": "any"}
    with (
        orthanc(tmp_path / "orthanc", dicomweb=True, user=(USER, PASSWORD)) as peer,
        running(tmp_path / "data", {"store_nodes": [node]}) as crossdock,
    ):
        target = {
            "name": "cloud",
            "type": "dicomweb",
            "url": peer.dicomweb,
            "basic": {"user": USER, "password": PASSWORD},
        }
        answer = crossdock.api.post("/api/v1/targets", json=target)
        assert answer.status_code == 201, answer.text
        assert PASSWORD not in answer.text
        rule = {"name": "all", "targets": ["cloud"]}
        assert crossdock.api.post("/api/v1/rules", json=rule).status_code == 201
        report = crossdock.api.post("/api/v1/targets/cloud/check").json()
        assert all(
            stage["state"] == "ok"
            for stage in report["report"]["stages"]
            if stage["name"] != "ping"
        )
        until(crossdock.ready, what="all of it is in force")
        command = [require("dcmsend"), "-aec", "CROSSDOCK", "127.0.0.1", str(node["port"])]
        subprocess.run([*command, *map(str, paths)], check=True, capture_output=True)
        (delivery,) = until(lambda: crossdock.deliveries(state="delivered"), what="the delivery")
        assert delivery["target"] == "cloud"
        received = [peer.fetch(each, tmp_path) for each in peer.instances()]
        assert set(by_uid(received)) == set(by_uid(paths))
    assert PASSWORD not in crossdock.log.read_text()
