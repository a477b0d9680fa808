"""Whose turn it is: the most urgent first, and nobody for ever last."""

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.bus import Retry
from crossdock.model import Priority
from dispatcher.turns import FIRM_SECONDS, Gate, Place, Turns
from waiting import until


URGENT, NORMAL, OFF_PEAK = Priority

SETS = st.sets(st.sampled_from(list(Priority)), min_size=1)


@settings(max_examples=300)
@given(st.lists(SETS, min_size=1, max_size=80))
def test_of_every_8_starts_at_which_one_waits_one_is_normal_and_of_every_16_one_off_peak(
    starts: list[set[Priority]],
) -> None:
    turns = Turns()
    missed: Counter[Priority] = Counter()
    for waiting in starts:
        chosen = turns.next(waiting)
        assert chosen in waiting
        missed.update(waiting - {chosen})
        missed[chosen] = 0
        assert missed[NORMAL] < 8
        assert missed[OFF_PEAK] < 16


def test_while_all_wait_most_starts_are_urgent_and_the_shares_are_exact() -> None:
    turns = Turns()
    starts = Counter(turns.next(set(Priority)) for _ in range(480))
    assert starts[NORMAL] == 60
    assert 30 <= starts[OFF_PEAK] <= 32
    assert Turns().next({NORMAL, OFF_PEAK}) is NORMAL
    assert Turns().next({OFF_PEAK}) is OFF_PEAK


class Bystander:
    """Somebody in a thread who wants a turn, and keeps the place until told to leave."""

    def __init__(self, gate: Gate, priority: Priority, threads: ThreadPoolExecutor) -> None:
        self.priority = priority
        self.has_place, self.leave = threading.Event(), threading.Event()
        self.end: Future[None] = threads.submit(self._run, gate)

    def _run(self, gate: Gate) -> None:
        with gate.turn(self.priority):
            self.has_place.set()
            assert self.leave.wait(60)


def test_a_place_that_falls_free_goes_to_the_most_urgent() -> None:
    gate = Gate(1)
    with ThreadPoolExecutor() as threads:
        with gate.turn(NORMAL) as place:
            calm = Bystander(gate, OFF_PEAK, threads)
            assert not gate.gives_way(place)
            urgent = Bystander(gate, URGENT, threads)
            until(lambda: gate.gives_way(place), what="the urgent one waits")
        assert urgent.has_place.wait(60)
        assert not calm.has_place.is_set()
        urgent.leave.set()
        assert calm.has_place.wait(60)
        calm.leave.set()


def test_as_many_give_way_as_more_urgent_ones_wait() -> None:
    gate = Gate(3)
    with ThreadPoolExecutor() as threads:
        with gate.turn(NORMAL) as first, gate.turn(NORMAL) as second, gate.turn(URGENT) as third:
            urgent = Bystander(gate, URGENT, threads)
            until(lambda: gate.gives_way(second), what="the urgent one waits")
            assert not gate.gives_way(first)
            assert not gate.gives_way(third)
            assert gate.gives_way(second)
        assert urgent.has_place.wait(60)
        urgent.leave.set()


def test_one_that_has_its_turn_by_its_share_gets_on_for_a_while_before_it_gives_way() -> None:
    now = 100.0
    gate = Gate(1, lambda: now)
    by_share, by_chance = Place(NORMAL, now + FIRM_SECONDS), Place(NORMAL, 0.0)
    with ThreadPoolExecutor() as threads:
        with gate.turn(URGENT):
            urgent = Bystander(gate, URGENT, threads)
            until(lambda: gate.gives_way(by_chance), what="the urgent one waits")
            other = Bystander(gate, URGENT, threads)
            assert not gate.gives_way(by_share)
            now += FIRM_SECONDS
            until(lambda: gate.gives_way(by_share), what="the other one waits")
        urgent.leave.set()
        other.leave.set()


def test_a_gate_that_is_closed_sends_away_who_waits_and_lets_others_go_on() -> None:
    gate = Gate(1)
    with ThreadPoolExecutor() as threads, gate.turn(NORMAL) as place:
        waiting = Bystander(gate, URGENT, threads)
        until(lambda: gate.gives_way(place))
        gate.close()
        with pytest.raises(Retry):
            waiting.end.result(60)
