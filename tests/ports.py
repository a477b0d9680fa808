"""Ports for servers that cannot bind port 0."""

import os
import random
import socket
from functools import cache
from itertools import cycle


_FIRST, _EACH, _LAST = 15_000, 2_000, 31_000  # below those that the kernel gives to clients


def free_port() -> int:
    """Return a port that nothing listens on, and that was not given to anybody lately.

    A server that was told a port takes seconds to bind it; no other test takes it meanwhile, in
    this process or in another of pytest-xdist's.
    """
    for port in _in_turn():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a cycle has no end")


@cache
def _in_turn() -> "cycle[int]":
    """Return the ports of this process in an order of its own, over and over."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + process * _EACH % (_LAST - _FIRST)
    return cycle(random.sample(range(first, first + _EACH), _EACH))
