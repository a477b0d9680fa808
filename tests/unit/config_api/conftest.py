"""A config-api that answers over real HTTP, on both databases, with an in-memory broker."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client import CollectorRegistry

from config_api.actions import Actions
from config_api.checks import CheckRecords
from config_api.configuration import Configuration
from config_api.database import Database
from config_api.ledger import Ledger
from config_api.metrics import LedgerCollector
from config_api.readiness import Neighbours
from config_api.records import Records
from config_api.server import HttpServer
from config_api.web.app import create_app
from config_api.web.parts import Parts
from crossdock.bus import Bus, connect
from crossdock.telemetry import Health
from servers.postgres import Postgres, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'crossdock.sqlite'}"
    return request.getfixturevalue("postgres_server").database()


@pytest.fixture
def empty_database(database_url) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def database(empty_database) -> Database:
    empty_database.prepare()
    return empty_database


@pytest.fixture
def bus() -> Iterator[Bus]:
    with connect(f"memory://{uuid.uuid4().hex}") as bus:
        yield bus


@dataclass
class Gateway:
    """A running config-api."""

    http: httpx.Client
    parts: Parts
    ledger: Ledger
    database: Database
    bus: Bus


class Start:
    """Starts config-apis, and stops them at the end of the test."""

    def __init__(self, bus: Bus, tmp_path) -> None:
        self._bus = bus
        self._run = tmp_path / "run"
        self.stack = ExitStack()

    def __call__(self, database: Database, token: str | None = None, requires=()) -> Gateway:
        registry = CollectorRegistry()
        records = Records(database)
        health = Health()
        health.watch("database", database.problem)
        configuration = Configuration(database, self._bus)
        LedgerCollector(records, configuration, registry)
        parts = Parts(
            configuration=configuration,
            records=records,
            checks=CheckRecords(database),
            actions=Actions(database),
            bus=self._bus,
            health=health,
            neighbours=Neighbours(self._run, requires),
            registry=registry,
            token=token,
        )
        server = HttpServer(create_app(parts), "127.0.0.1", 0, lambda: None)
        server.start()
        self.stack.callback(server.close)
        http = self.stack.enter_context(
            httpx.Client(base_url=f"http://{server.address}", trust_env=False, timeout=60)
        )
        return Gateway(http, parts, Ledger(database, registry), database, self._bus)


@pytest.fixture
def start(bus, tmp_path) -> Iterator[Start]:
    start = Start(bus, tmp_path)
    with start.stack:
        yield start


@pytest.fixture
def gateway(start, database) -> Gateway:
    return start(database)
