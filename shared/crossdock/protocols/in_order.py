"""Several pieces of work at once, with their results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from functools import partial
from typing import TypeVar

from crossdock.protocols.workers import Workers


Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], width: int
) -> Generator[Result, None, None]:
    """Yield what ``work`` returns for each item, in order, with up to ``width`` under way at once.

    What it raises is raised in its place. At the end, also at an early one, what is under way is
    waited for, and the rest is not begun. The threads do not keep a process from ending.
    """
    waiting: deque[Future[Result]] = deque()
    workers = Workers(width, "in-order")
    try:
        for item in items:
            waiting.append(workers.submit(partial(work, item)))
            if len(waiting) >= width:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        wait([future for future in waiting if not future.cancel()])
        workers.close()
