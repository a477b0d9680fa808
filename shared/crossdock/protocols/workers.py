"""Threads that end with the process, whatever they wait for."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar


T = TypeVar("T")


class Workers:
    """Up to ``count`` threads, which begin as they are needed.

    A ``ThreadPoolExecutor`` would keep a process from ending until the last upload has.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._threads = 0
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )

    def submit(self, job: Callable[[], T]) -> "Future[T]":
        """Have a thread do a job, after those that came before."""
        future: Future[T] = Future()
        self._jobs.put((future, job))
        with self._lock:
            if self._threads < self._count:
                self._threads += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def close(self) -> None:
        """Let the threads end after what they do now. Closing twice is fine."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)
            self._threads = 0

    def _work(self) -> None:
        while (given := self._jobs.get()) is not None:
            future, job = given
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 — whoever waits for the job gets it
                future.set_exception(error)
            del given, future, job  # an idle thread must not keep the last job in memory
