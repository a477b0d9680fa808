"""Servers of the standard library, served by a thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer


_LOOK_SECONDS = 0.02  # between two looks whether to stop


@contextmanager
def serving(server: BaseServer, last_words: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Serve until the block ends and close the server; ``last_words`` free requests that hang."""
    thread = threading.Thread(target=server.serve_forever, args=(_LOOK_SECONDS,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        last_words()
        server.server_close()
        thread.join()
