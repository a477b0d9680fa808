"""Ports for servers that cannot bind port 0."""

import os
import random
import socket


_FIRST, _EACH, _LAST = 15_000, 2_000, 31_000  # below those that the kernel gives to clients


def free_port() -> int:
    """Return a port that nothing listens on, and that no other of pytest-xdist's processes takes.

    A server that was told a port takes seconds to bind it.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + process * _EACH % (_LAST - _FIRST)
    while True:
        port = random.randrange(first, first + _EACH)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
