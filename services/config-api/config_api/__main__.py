"""Starts config-api."""

import sys

import structlog
from prometheus_client import CollectorRegistry

from config_api.actions import Actions
from config_api.checks import CheckRecords
from config_api.configuration import Configuration
from config_api.database import Database
from config_api.ledger import Ledger
from config_api.metrics import LedgerCollector
from config_api.options import Options, options_from, refusal_to_listen
from config_api.publish import Publisher
from config_api.readiness import Neighbours
from config_api.records import Records
from config_api.retention import Retention
from config_api.server import HttpServer
from config_api.settling import Draining
from config_api.web.app import create_app
from config_api.web.parts import Parts
from crossdock.bus.topology import CONFIG, LEDGER
from crossdock.service import Service, stop_on_signals
from crossdock.settings import Settings, from_environment


log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 10.0  # a database that is there is ready before anybody is told of us


def main(settings: Settings) -> int:
    """Run config-api until it is told to stop; returns the process's exit code."""
    try:
        options = options_from()
    except ValueError as error:
        return _refuse(str(error))
    refusal = refusal_to_listen(settings)
    if refusal:
        return _refuse(refusal)
    with Service("config-api", settings) as service:
        return _run(service, options)


def _run(service: Service, options: Options) -> int:
    settings = service.settings
    registry = CollectorRegistry()
    database = Database(settings.database)
    service.closing(database.close)
    service.health.watch("database", database.problem)
    configuration = Configuration(database, service.bus)
    records = Records(database)
    LedgerCollector(records, configuration, registry)
    parts = Parts(
        configuration=configuration,
        records=records,
        checks=CheckRecords(database),
        actions=Actions(database),
        bus=service.bus,
        health=service.health,
        neighbours=Neighbours(settings.run, options.requires),
        registry=registry,
        token=settings.api_token,
    )
    try:
        server = HttpServer(
            create_app(parts), settings.http_host, settings.http_port, service.stopping.set
        )
    except OSError as error:
        address = f"{settings.http_host}:{settings.http_port}"
        reason = f"config-api cannot listen on {address}: {error.strerror}"
        return _refuse(f"{reason}; choose another address with --http or CROSSDOCK_HTTP")
    service.closing(server.close)
    database.start(_PATIENCE_SECONDS)
    retention = Retention(database, options.ledger_days)
    service.closing(retention.close)
    retention.start()
    draining = Draining(configuration, records, service.bus)
    service.closing(draining.close)
    draining.start()
    ledger = Ledger(database, registry)
    service.closing(service.bus.consume(LEDGER, ledger.handle).close)
    service.closing(service.bus.serve(CONFIG, Publisher(configuration).respond).close)
    server.start()
    service.announce(server.address)
    stop_on_signals(service.stopping)
    log.info("service.started", http=server.address)
    service.stopping.wait()
    log.info("service.stopping")
    return 0


def _refuse(reason: str) -> int:
    sys.stderr.write(f"{reason}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(from_environment()))
