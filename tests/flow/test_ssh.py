"""A study over SSH: targets set up through the API of a running gateway, found on a real server."""

import subprocess
from pathlib import Path

from ports import free_port
from running import running
from servers import require
from servers.sshd import has_rsync, sshd
from studies import by_uid, make_ct
from waiting import until


def test_a_study_that_is_sent_is_found_on_the_server(tmp_path: Path) -> None:
    has_rsync()
    paths = make_ct(tmp_path / "study", 5)
    node = {"name": "main", "ae_title": "CROSSDOCK", "port": free_port(), "accept": "any"}
    with (
        sshd(tmp_path / "sshd") as server,
        running(tmp_path / "data", {"store_nodes": [node]}) as gateway,
    ):
        for kind in ("rsync", "sftp"):
            (tmp_path / kind).mkdir()
            settings = server.settings(path=str(tmp_path / kind))
            target = {"name": kind, "type": kind, **settings}
            assert gateway.api.post("/api/v1/targets", json=target).status_code == 201
            answer = gateway.api.get(f"/api/v1/targets/{kind}")
            assert answer.json()["key"] == {"kept": True}
        rule = {"name": "all", "targets": ["rsync", "sftp"]}
        assert gateway.api.post("/api/v1/rules", json=rule).status_code == 201
        report = gateway.api.post("/api/v1/targets/rsync/check").json()
        assert report["green"], report
        until(gateway.ready, what="all of it is in force")
        send = [require("dcmsend"), "-aec", "CROSSDOCK", "127.0.0.1", str(node["port"])]
        subprocess.run([*send, *map(str, paths)], check=True, capture_output=True)
        until(
            lambda: [row["state"] for row in gateway.deliveries()] == ["delivered"] * 2,
            what="two deliveries",
        )
    for kind in ("rsync", "sftp"):
        assert set(by_uid(list((tmp_path / kind).rglob("*.dcm")))) == set(by_uid(paths))
        assert len(list((tmp_path / kind).rglob(".complete"))) == 1
    log = gateway.log.read_text()
    assert "PRIVATE KEY" not in log
    assert "Zweistein" not in log
