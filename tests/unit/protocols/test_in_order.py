"""Several at once, in order, and nothing left behind however it ends."""

import threading

import pytest

from crossdock.protocols.in_order import in_order
from waiting import until


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "folder"]


def test_results_come_in_order_however_long_each_takes():
    later = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            later.wait(60)
        if number == 3:
            later.set()
        return number

    assert list(in_order(work, iter(range(50)), 4)) == list(range(50))
    assert threads() == []


def test_no_more_than_so_many_are_under_way_and_taken():
    taken: list[int] = []
    going, gate = [], threading.Semaphore(0)

    def items():
        for number in range(10):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        going.append(number)
        gate.acquire()
        return number

    results = in_order(work, items(), 3)
    reader = threading.Thread(target=lambda: next(results))
    reader.start()
    until(lambda: len(going) == 3)
    assert taken == [0, 1, 2]
    for _ in range(10):
        gate.release()
    reader.join()
    assert list(results) == list(range(1, 10))


def test_what_is_raised_comes_in_its_place_and_ends_it():
    def work(number: int) -> int:
        if number == 2:
            raise ValueError(number)
        return number

    results = in_order(work, range(100), 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="2"):
        next(results)
    assert list(results) == []
    assert threads() == []


def test_an_early_end_waits_for_what_is_under_way_and_begins_no_more():
    begun: list[int] = []
    results = in_order(lambda number: begun.append(number) or number, range(100), 4)
    next(results)
    results.close()
    assert threads() == []
    assert len(begun) <= 4


def test_nothing_needs_no_thread():
    assert list(in_order(lambda number: number, [], 4)) == []
    assert threads() == []
