"""The brokers that every bus is tested on, as fixtures; a pytest plugin of the bus's tests."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.bus_brokers import Broker
from servers.rabbitmq import RabbitMQ, rabbitmq
from servers.redis import Redis, redis


ALL = ("memory", "filesystem", "redis", "rabbitmq")
ACROSS_PROCESSES = ALL[1:]
VISIBILITY = "?visibility_timeout=2"  # seconds until Redis takes a silent consumer for dead


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def url_of(kind: str, request: pytest.FixtureRequest, directory: Path) -> str:
    match kind:
        case "rabbitmq":
            return str(request.getfixturevalue("rabbitmq_server").url)
        case "redis":
            return f"{request.getfixturevalue('redis_server').url}{VISIBILITY}"
        case "filesystem":
            return f"filesystem://{directory / 'broker'}"
        case _:
            return f"memory://{secrets.token_hex(4)}"


@pytest.fixture(params=ALL)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each broker in turn."""
    broker = Broker(request.param, url_of(request.param, request, tmp_path))
    yield broker
    broker.close()


@pytest.fixture(params=ACROSS_PROCESSES)
def shared_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each broker that serves several processes."""
    broker = Broker(request.param, url_of(request.param, request, tmp_path))
    yield broker
    broker.close()


@pytest.fixture
def redis_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Redis alone, for what is its own."""
    broker = Broker("redis", url_of("redis", request, tmp_path))
    yield broker
    broker.close()
