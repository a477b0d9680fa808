"""Fault points: off by default, once only, and never with a name that does not exist."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from crossdock import faults
from crossdock.faults import FIRED, Faults, Point
from waiting import until


POINT: Point = "dispatcher.instance_sent"
REACH = f'from crossdock.faults import reached\nfor _ in range(4): reached("{POINT}")'


def _run(directory: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "CROSSDOCK_FAULTS"}
    if directory is not None:
        environment["CROSSDOCK_FAULTS"] = str(directory)
    command = [sys.executable, "-c", REACH]
    return subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: PLW1510 — it may be killed


def _arm(directory: Path, content: str, point: str = POINT) -> Path:
    (directory / point).write_text(content)
    return directory / f"{point}{FIRED}"


def test_without_a_directory_nothing_happens() -> None:
    assert _run(None).returncode == 0
    assert faults.reached is faults._nothing  # noqa: SLF001 — what the tests themselves run with


def test_a_process_is_killed_when_it_has_reached_a_point_often_enough(tmp_path: Path) -> None:
    fired = _arm(tmp_path, "4")
    assert _run(tmp_path).returncode == -signal.SIGKILL
    assert fired.exists()


def test_a_process_that_does_not_reach_it_often_enough_lives(tmp_path: Path) -> None:
    fired = _arm(tmp_path, "5")
    assert _run(tmp_path).returncode == 0
    assert not fired.exists()


def test_what_has_fired_does_not_do_so_again(tmp_path: Path) -> None:
    _arm(tmp_path, "1")
    assert [_run(tmp_path).returncode for _ in range(2)] == [-signal.SIGKILL, 0]


def test_a_name_that_is_no_point_is_an_error_at_the_start(tmp_path: Path) -> None:
    _arm(tmp_path, "1", "dispatcher.instance_send")
    ended = _run(tmp_path)
    assert ended.returncode == 1
    assert "dispatcher.instance_send: there is no such fault point" in ended.stderr


def test_of_several_threads_one_waits_until_it_may_go_on(tmp_path: Path) -> None:
    fired, armed = _arm(tmp_path, "2 pause"), Faults(tmp_path)
    threads = [threading.Thread(target=armed.reached, args=(POINT,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(fired.exists, what="it has fired")
    until(lambda: sum(thread.is_alive() for thread in threads) == 1, what="one waits")
    fired.unlink()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_every_point_is_reached_from_one_place_in_the_code() -> None:
    """That it is reached in a run, too, is what ``tests/crash`` shows."""
    root = Path(__file__).parents[2]
    files = [*root.glob("services/**/*.py"), *root.glob("shared/**/*.py")]
    code = "".join(file.read_text() for file in files if file.name != "faults.py")
    assert [point for point in faults.POINTS if code.count(f'"{point}"') != 1] == []
