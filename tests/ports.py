"""Ports for servers that cannot bind port 0."""

import random
import socket


def free_port() -> int:
    """Return a port that nothing listens on, below those that the kernel gives to clients."""
    while True:
        port = random.randint(15_000, 31_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
