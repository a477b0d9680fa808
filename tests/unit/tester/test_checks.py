"""Checks end in time and say what is wrong, whatever the target does."""

import threading

from crossdock.config.snapshot import parse_object
from crossdock.messages import CheckFinished, CheckRequested
from tester.checks import Checks, fingerprint
from tester.on_demand import OnDemand
from waiting import until


def on_demand(checks: Checks | None = None) -> tuple[OnDemand, list[CheckFinished]]:
    told: list[CheckFinished] = []
    return OnDemand(checks or Checks(), told.append), told


def test_a_folder_that_is_there_is_green(tmp_path):
    target = {"name": "research", "type": "folder", "path": str(tmp_path)}
    answers, told = on_demand()
    finished = answers.respond(CheckRequested(target=target))
    assert finished.report.green, finished.report
    assert finished.target == "research"
    assert list(tmp_path.iterdir()) == []
    assert told == []


def test_what_is_found_about_a_saved_target_is_told(tmp_path):
    target = {"name": "research", "type": "folder", "path": str(tmp_path)}
    answers, told = on_demand()
    finished = answers.respond(CheckRequested(target=target, saved=True))
    assert told == [finished]
    assert finished.protocol == "folder"
    assert finished.settings == fingerprint(parse_object("targets", target))


def test_a_peer_that_hangs_is_reported_at_the_deadline(hanging_peer):
    answers, _ = on_demand(Checks(deadline=0.2))
    finished = answers.respond(CheckRequested(target=hanging_peer))
    assert [(stage.name, stage.state) for stage in finished.report.stages] == [
        ("timeout", "failed")
    ]
    assert finished.report.stages[0].advice


def test_whoever_asks_for_what_is_under_way_joins_it(hanging_peer):
    answers, _ = on_demand(Checks(deadline=0.1, threads=1))
    for _ in range(5):
        finished = answers.respond(CheckRequested(target=hanging_peer))
        assert finished.report.stages[0].name == "timeout"
    assert [each.name for each in threading.enumerate()].count("check hanging") == 1


def test_hanging_checks_do_not_pile_up(hanging_peer):
    answers, told = on_demand(Checks(deadline=0.1, threads=2))
    for name in ("a", "b"):
        answers.respond(CheckRequested(target={**hanging_peer, "name": name}))
    refused = answers.respond(CheckRequested(target=hanging_peer, saved=True))
    assert refused.report.stages[0].detail == "too many checks hang"
    assert told == []

    def free() -> bool:
        again = answers.respond(CheckRequested(target=hanging_peer))
        return again.report.stages[0].name != "start"

    until(free)


def test_settings_that_are_wrong_are_a_failed_stage():
    answers, _ = on_demand()
    finished = answers.respond(CheckRequested(target={"name": "x", "type": "fax"}))
    assert finished.report.stages[0].name == "settings"
    assert "type" in finished.report.stages[0].detail
    assert not finished.report.green
