"""The answers that requests wait for."""

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from crossdock.bus.letter import Letter
from crossdock.bus.verdict import Done, Verdict


class Replies:
    """Hands each answer to the one who asked; what nobody waits for any more is dropped."""

    def __init__(self) -> None:
        self._waiting: dict[str, Future[Letter]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def expect(self) -> Iterator[tuple[str, Future[Letter]]]:
        """Yield a fresh correlation and the future of its answer."""
        correlation = secrets.token_hex(12)
        future: Future[Letter] = Future()
        with self._lock:
            self._waiting[correlation] = future
        try:
            yield correlation, future
        finally:
            with self._lock:
                self._waiting.pop(correlation, None)

    def arrived(self, letter: Letter) -> Verdict:
        """Take an answer."""
        with self._lock:
            future = self._waiting.pop(letter.correlation, None)
        if future is not None:
            future.set_result(letter)
        return Done()
