"""Several pieces of work at once, with their results in order."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar


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
    threads = _Threads(work, width)
    try:
        for item in items:
            waiting.append(threads.begin(item))
            if len(waiting) >= width:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        threads.join()


class _Threads(Generic[Item, Result]):
    """Daemon threads that do one kind of work, each begun when it is first needed."""

    def __init__(self, work: Callable[[Item], Result], width: int) -> None:
        self._work = work
        self._width = width
        self._tasks: SimpleQueue[tuple[Item, Future[Result]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def begin(self, item: Item) -> Future[Result]:
        """Have an item worked on."""
        if len(self._threads) < self._width:
            thread = threading.Thread(target=self._run, name="in-order", daemon=True)
            self._threads.append(thread)
            thread.start()
        future: Future[Result] = Future()
        self._tasks.put((item, future))
        return future

    def join(self) -> None:
        """Wait for what was begun and not cancelled."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            item, future = task
            if future.set_running_or_notify_cancel():
                self._do(item, future)

    def _do(self, item: Item, future: Future[Result]) -> None:
        try:
            result = self._work(item)
        except BaseException as error:  # noqa: BLE001 — it is raised where the result is awaited
            future.set_exception(error)
        else:
            future.set_result(result)
