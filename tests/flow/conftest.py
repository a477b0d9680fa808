"""Fixtures of the flow tests: the brokers that each story is told on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.rabbitmq import RabbitMQ, rabbitmq


@pytest.fixture
def own_rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    """A RabbitMQ with nothing in it, which the test may kill."""
    with rabbitmq(tmp_path / "rabbitmq") as server:
        yield server


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> str | None:
    """The broker's URL; None is the embedded one."""
    if request.param == "embedded":
        return None
    server: RabbitMQ = request.getfixturevalue("own_rabbitmq")
    return server.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty directory for a folder target."""
    path = tmp_path / "folder"
    path.mkdir()
    return path
