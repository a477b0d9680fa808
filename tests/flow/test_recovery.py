"""A target that was away gets what waited for it as soon as a check finds it."""

import subprocess
from pathlib import Path

from crossdock.cli.demo import demo_gateway
from ports import free_port
from running import running
from servers import require
from studies import by_uid, make_ct
from waiting import until


def test_a_share_that_is_mounted_again_gets_its_study_long_before_the_next_try(
    tmp_path: Path, folder: Path
) -> None:
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0]["port"] = port = free_port()
    gateway["targets"][0]["check_seconds"] = 1
    files = make_ct(tmp_path / "ct", 3)
    away = folder.rename(tmp_path / "away")
    with running(tmp_path / "data", gateway, CROSSDOCK_RETRY_SCALE="100") as crossdock:
        command = [require("dcmsend"), "-aec", "CROSSDOCK", "127.0.0.1", str(port)]
        subprocess.run([*command, *map(str, files)], check=True, capture_output=True)
        (waiting,) = until(lambda: crossdock.deliveries(state="waiting"), what="it waits")
        detail = f"/api/v1/deliveries/{waiting['id']}"
        until(lambda: crossdock.api.get(detail).json()["attempts"] == 1, what="it was tried")

        def green() -> list[bool]:
            checks = crossdock.api.get("/api/v1/targets/demo-folder/checks").json()["items"]
            return [check["green"] for check in checks]

        until(lambda: False in green(), what="the target is seen to be away")
        away.rename(folder)
        until(lambda: crossdock.deliveries(state="delivered"), what="it is delivered")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(files)
