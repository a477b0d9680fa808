"""Wait for a condition with a deadline, never for a while."""

import time
from collections.abc import Callable
from typing import TypeVar


T = TypeVar("T")


def until(
    condition: Callable[[], T], timeout: float = 60.0, what: str = "", *, step: float = 0.01
) -> T:
    """Return the first truthy answer of ``condition``; fail after ``timeout`` seconds.

    ``step`` seconds lie between two looks: more where a look costs those whom one waits for.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}; last {answer!r}")
        time.sleep(step)  # the poll's own step, bounded by the deadline above
