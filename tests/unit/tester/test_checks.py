"""Checks end in time and say what is wrong, whatever the target does."""

import socket
from collections.abc import Iterator

import pytest

from crossdock.messages import CheckRequested
from tester.checks import Checks
from waiting import until


@pytest.fixture
def hanging_peer() -> Iterator[dict[str, object]]:
    """A target's settings; the peer takes connections and says nothing until the test ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        yield {
            "name": "hanging",
            "type": "dicom",
            "host": host,
            "port": port,
            "called_ae_title": "HANGING",
            "timeout": 3,
        }


def test_a_folder_that_is_there_is_green(tmp_path):
    target = {"name": "research", "type": "folder", "path": str(tmp_path)}
    finished = Checks().respond(CheckRequested(target=target))
    assert finished.report.green, finished.report
    assert finished.target == "research"
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_hangs_is_reported_at_the_deadline(hanging_peer):
    finished = Checks(deadline=0.2).respond(CheckRequested(target=hanging_peer))
    assert [(stage.name, stage.state) for stage in finished.report.stages] == [
        ("timeout", "failed")
    ]
    assert finished.report.stages[0].advice


def test_hanging_checks_do_not_pile_up(hanging_peer):
    checks = Checks(deadline=0.2, threads=2)
    for _ in range(2):
        checks.respond(CheckRequested(target=hanging_peer))
    refused = checks.respond(CheckRequested(target=hanging_peer))
    assert refused.report.stages[0].detail == "too many checks hang"

    def free() -> bool:
        again = checks.respond(CheckRequested(target=hanging_peer))
        return again.report.stages[0].name != "start"

    until(free, timeout=30)


def test_settings_that_are_wrong_are_a_failed_stage():
    finished = Checks().respond(CheckRequested(target={"name": "x", "type": "fax"}))
    assert finished.report.stages[0].name == "settings"
    assert "type" in finished.report.stages[0].detail
    assert not finished.report.green
