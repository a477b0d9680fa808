"""What operators do with targets and deliveries, through a whole gateway."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossdock.cli.demo import demo_gateway
from machine import crossdock as command
from ports import free_port
from running import Running, running
from servers import require
from studies import by_uid, make_ct
from waiting import until


def two_folders(folder: Path, port: int) -> dict[str, Any]:
    """A gateway that sends everything to the folder target demo-folder, and knows another."""
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0]["port"] = port
    (folder.parent / "other").mkdir()
    other = gateway["targets"][0] | {"name": "other", "path": str(folder.parent / "other")}
    gateway["targets"].append(other)
    return gateway


def send(port: int, paths: list[Path]) -> None:
    sender = [require("dcmsend"), "-aec", "CROSSDOCK", "127.0.0.1", str(port)]
    subprocess.run([*sender, *map(str, paths)], check=True, capture_output=True)


def run(gateway: Running, *arguments: str, stdin: str = "") -> str:
    """Run `crossdock` as the operator of a gateway; return what it printed."""
    result = command(*arguments, stdin=stdin, CROSSDOCK_API=f"http://{gateway.address()}")
    assert result.exit_code == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.timeout(120)
def test_a_paused_target_gets_its_deliveries_when_it_is_resumed_whatever_happens_meanwhile(
    tmp_path: Path, folder: Path, broker: str | None
) -> None:
    document = two_folders(folder, port := free_port())
    with running(tmp_path / "data", document, broker) as gateway:
        run(gateway, "targets", "pause", "demo-folder", "--reason", "the share is moved")
        until(gateway.ready, what="the pause is in force")
        send(port, files := make_ct(tmp_path / "ct", 3))
        (waiting,) = until(lambda: gateway.deliveries(state="waiting"), what="it waits")
        assert waiting["reason"] == "target demo-folder is paused: the share is moved"
        run(gateway, "apply", "-f", "-", stdin=yaml.safe_dump(document))
        gateway.kill("dispatcher")
        until(gateway.ready, 40, what="the dispatcher is there again")
        listed = run(gateway, "targets", "list")
        assert "paused" in listed
        assert "the share is moved" in listed
        assert not list(folder.rglob("*.dcm"))
        run(gateway, "targets", "resume", "demo-folder")
        until(lambda: gateway.deliveries(state="delivered"), 30, "it is delivered")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(files)
