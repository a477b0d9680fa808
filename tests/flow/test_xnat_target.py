"""A study on its way into an XNAT project, through a whole gateway that is set up over its API."""

import subprocess
from pathlib import Path

from contract.remotes_xnat import XnatRemote
from ports import free_port
from running import running
from servers import require
from studies import by_uid, make_ct
from waiting import until


def test_a_study_is_archived_in_a_project_that_was_configured_over_the_api(
    tmp_path: Path,
) -> None:
    sent = make_ct(tmp_path / "study", 5)
    port = free_port()
    with XnatRemote(tmp_path / "remote") as remote:
        secret = remote.secrets[0]
        target = remote.target(name="research", destination="archive")
        settings = target.model_dump(exclude={"password"}, mode="json") | {"password": secret}
        gateway = {
            "store_nodes": [
                {"name": "main", "ae_title": "CROSSDOCK", "port": port, "accept": "any"}
            ],
            "targets": [settings],
            "rules": [{"name": "everything", "targets": ["research"]}],
        }
        with running(tmp_path / "data", CROSSDOCK_LOG="debug") as crossdock:
            assert crossdock.put_gateway(gateway).is_success
            until(crossdock.ready, what="ready with the new configuration")
            answer = crossdock.api.post("/api/v1/targets/research/check")
            assert answer.json()["green"], answer.text
            command = [require("dcmsend"), "-aec", "CROSSDOCK", "-nuc", "127.0.0.1", str(port)]
            subprocess.run([*command, *map(str, sent)], check=True, capture_output=True)
            until(lambda: _delivered(crossdock.deliveries()), what="the delivery")
        assert remote.server.prearchive == []
        (session,) = remote.server.archive.values()
        assert session.subject == "SECRET-ID"
        assert set(remote.received()) == set(by_uid(sent))
        assert secret not in crossdock.log.read_text()


def _delivered(rows: list[dict[str, object]]) -> bool:
    return [row["state"] for row in rows] == ["delivered"]
