"""``crossdock up``: it says when it is ready, mends itself, and ends when asked."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossdock.cli.demo import demo_gateway
from ports import free_port
from running import TOLD, running
from waiting import until


def _gateway(folder: Path, port: int) -> dict[str, object]:
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0]["port"] = port
    return gateway


def test_the_demo_brings_a_study_into_the_folder_and_says_so(tmp_path: Path, folder: Path) -> None:
    gateway = _gateway(folder, free_port())
    with running(tmp_path / "data", gateway, None, "--demo") as crossdock:
        until(lambda: "What arrived where" in crossdock.log.read_text(), what="the demo's table")
        until(lambda: "now holds" in crossdock.log.read_text())
        assert len(list(folder.rglob("*.dcm"))) == 25
    log = crossdock.log.read_text()
    assert "CROSSDOCK on port" in log
    assert f"http://{crossdock.address() or ''}" in log


def test_it_ends_within_ten_seconds_of_sigterm_and_leaves_no_process(
    tmp_path: Path, folder: Path
) -> None:
    with running(tmp_path / "data", _gateway(folder, port := free_port())) as crossdock:
        names = ("config-api", "receiver", "router", "dispatcher", "tester")
        pids = [crossdock.said(name)["pid"] for name in names]  # type: ignore[index]
        began = time.monotonic()
        assert crossdock.stop() == 0
        assert time.monotonic() - began < 10
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_services_end_when_their_supervisor_is_killed(tmp_path: Path, folder: Path) -> None:
    with running(tmp_path / "data", _gateway(folder, free_port())) as crossdock:
        pids = [
            crossdock.said(name)["pid"]  # type: ignore[index]
            for name in ("config-api", "receiver", "router", "dispatcher", "tester")
        ]
        crossdock.process.send_signal(signal.SIGKILL)
        until(lambda: not [pid for pid in pids if _alive(pid)], what="all services end")


def _alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("service", ["config-api", "receiver", "router", "dispatcher", "tester"])
def test_a_service_that_dies_is_named_in_the_log_and_restarted(
    tmp_path: Path, folder: Path, service: str
) -> None:
    with running(tmp_path / "data", _gateway(folder, free_port())) as crossdock:
        dead = crossdock.kill(service)
        until(lambda: (crossdock.said(service) or {}).get("pid") not in (dead, None))
        until(crossdock.ready, what="ready again")
    died = [line for line in crossdock.log.read_text().splitlines() if "service.died" in line]
    assert len(died) == 1
    assert f'"name": "{service}"' in died[0]


def test_it_is_not_ready_while_a_store_node_cannot_listen_and_says_why(
    tmp_path: Path, folder: Path
) -> None:
    with running(tmp_path / "data", _gateway(folder, free_port())) as crossdock:
        with socket.socket() as taken:
            taken.bind(("", 0))
            taken.listen()
            port = taken.getsockname()[1]
            node = {"ae_title": "SECOND", "port": port, "accept": "any"}
            assert crossdock.api.put("/api/v1/store-nodes/second", json=node).is_success
            until(lambda: f"port {port}" in crossdock.api.get("/readyz").text, what="not ready")
            assert "in use" in crossdock.api.get("/readyz").text
            assert not crossdock.ready()
        until(crossdock.ready, what="the port is free, so the node listens")


def test_a_second_one_on_the_same_data_is_refused(tmp_path: Path, folder: Path) -> None:
    with running(tmp_path / "data", _gateway(folder, free_port())):
        second = subprocess.run(
            [sys.executable, "-m", "crossdock.cli.main", "up", "--data", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "CROSSDOCK_HTTP": "127.0.0.1:0"},
        )
    assert second.returncode == 1
    assert "in use by another" in second.stderr


def test_changes_take_effect_before_services_ask_for_them_and_without_a_restart(
    tmp_path: Path, folder: Path
) -> None:
    with running(tmp_path / "data", _gateway(folder, free_port())) as crossdock:
        port = free_port()
        node = {"ae_title": "SECOND", "port": port, "accept": "any"}
        assert crossdock.api.put("/api/v1/store-nodes/second", json=node).is_success
        until(lambda: _listens(port), TOLD, "the new node listens")
        moved = free_port()
        assert crossdock.api.patch("/api/v1/store-nodes/second", json={"port": moved}).is_success
        until(lambda: _listens(moved) and not _listens(port), TOLD, "it has moved")
        assert crossdock.api.delete("/api/v1/store-nodes/second").is_success
        until(lambda: not _listens(moved), TOLD, "it is gone")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
