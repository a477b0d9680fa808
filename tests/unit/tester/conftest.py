"""Targets to check: those that work, and those that hang until the test lets go."""

import socket
import uuid
from collections.abc import Iterator

import pytest

from crossdock.bus import Bus, connect


@pytest.fixture
def hanging_peer() -> Iterator[dict[str, object]]:
    """A target's settings; the peer takes connections and says nothing until the test ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        yield {
            "name": "hanging",
            "type": "dicom",
            "host": host,
            "port": port,
            "called_ae_title": "HANGING",
            "timeout": 3,
        }


@pytest.fixture
def broker() -> str:
    """The URL of a broker of the test's own."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def bus(broker: str) -> Iterator[Bus]:
    with connect(broker) as bus:
        yield bus
