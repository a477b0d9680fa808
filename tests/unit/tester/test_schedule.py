"""When targets are due: pure, with the clock and the chance as arguments."""

import pytest

from crossdock.config.targets import FolderTarget
from tester.checks import fingerprint
from tester.schedule import Schedule


MANY = 100


def target(name: str = "a", **changes: object) -> FolderTarget:
    document = {"name": name, "type": "folder", "path": "/x", "check_seconds": 300, **changes}
    return FolderTarget.model_validate(document)


def begun(*targets: FolderTarget) -> Schedule:
    """Return a schedule at whose time 0 all targets were just checked."""
    schedule = Schedule(lambda: 0.5)
    schedule.configure(targets, -100.0)
    for each in schedule.take(0.0, MANY):
        schedule.finished(each, 0.0)
    assert schedule.next(MANY) == (300.0 if targets else None)
    return schedule


def test_at_the_start_targets_are_spread_over_a_second_each():
    chances = iter(number / 20 for number in range(20))
    schedule = Schedule(lambda: next(chances))
    schedule.configure([target(f"t{number}") for number in range(20)], 0.0)
    taken = [len(schedule.take(float(now), MANY)) for now in range(21)]
    assert taken == [1] * 20 + [0]


def test_after_a_check_the_next_is_about_the_targets_seconds_away():
    for chance, due in ((0.0, 270.0), (0.5, 300.0), (1.0, 330.0)):
        schedule = Schedule(lambda chance=chance: chance)
        schedule.configure([target()], -1.0)
        (taken,) = schedule.take(0.0, MANY)
        schedule.finished(taken, 0.0)
        assert schedule.next(MANY) == pytest.approx(due)


def test_what_is_disabled_or_has_no_seconds_is_never_due():
    schedule = Schedule(lambda: 0.0)
    schedule.configure([target("a", enabled=False), target("b", check_seconds=0)], 0.0)
    assert schedule.take(1e9, MANY) == []
    assert schedule.next(MANY) is None


def test_a_target_that_changes_or_is_new_is_due_at_once_and_others_are_not():
    schedule = begun(target("a"), target("b"))
    schedule.configure([target("a"), target("b", path="/y"), target("c")], 10.0)
    assert schedule.take(10.0, MANY) == []
    assert {each.name for each in schedule.take(10.5, MANY)} == {"b", "c"}


def test_a_target_that_is_gone_is_not_due():
    schedule = begun(target("a"))
    schedule.configure([], 1.0)
    assert schedule.take(1e9, MANY) == []


def test_a_target_is_never_under_way_twice_even_if_it_changes_meanwhile():
    schedule = begun(target())
    (old,) = schedule.take(300.0, MANY)
    assert schedule.take(1000.0, MANY) == []
    new = target(path="/y")
    schedule.configure([new], 1000.0)
    assert schedule.take(1001.0, MANY) == []
    schedule.finished(old, 1002.0)
    assert schedule.take(1002.0, MANY) == [new]


def test_no_more_than_so_many_are_under_way_and_the_longest_due_come_first():
    schedule = begun(*(target(f"t{number}") for number in range(5)))
    schedule.checked("t3", fingerprint(target("t3")), -50.0)
    first = schedule.take(400.0, 2)
    assert len(first) == 2
    assert first[0].name == "t3"
    assert schedule.take(400.0, 2) == []
    assert schedule.next(2) is None
    schedule.finished(first[0], 400.0)
    assert schedule.next(2) == 300.0
    assert len(schedule.take(400.0, 2)) == 1


def test_a_check_that_somebody_else_made_counts():
    schedule = begun(target())
    schedule.checked("a", fingerprint(target()), 200.0)
    assert schedule.take(499.0, MANY) == []
    assert len(schedule.take(500.0, MANY)) == 1


def test_a_check_of_other_settings_does_not_count():
    schedule = begun(target())
    schedule.checked("a", fingerprint(target(path="/y")), 200.0)
    schedule.checked("unknown", "", 200.0)
    assert len(schedule.take(300.0, MANY)) == 1
