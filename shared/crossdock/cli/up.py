"""``crossdock up``: everything on one machine, with an embedded broker and SQLite."""

import os
import threading
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from crossdock.cli.apply import name_fields, read_document
from crossdock.cli.first_steps import FirstSteps
from crossdock.cli.services import settings_or_exit
from crossdock.cli.supervisor import Child, Supervisor
from crossdock.config import parse_gateway
from crossdock.errors import ConfigError
from crossdock.service import announce, stop_on_signals
from crossdock.settings import Settings
from crossdock.spool.durable import try_lock
from crossdock.telemetry import Health, HealthServer, configure_logging


API = "config-api"
OTHERS = ("receiver", "router", "dispatcher", "tester")
UP = "up"  # this process: it has a say in readiness too


def up(
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A gateway.yaml to apply at each start."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Directory that holds everything. [default: ./data]")
    ] = None,
    http: Annotated[
        str | None, typer.Option(help="HOST:PORT of web and API. [default: 127.0.0.1:8080]")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Set up a demo folder target and send a study to it.")
    ] = False,
) -> None:
    """Run all services on this machine, until SIGTERM or Ctrl-C."""
    if demo:
        os.environ.setdefault("CROSSDOCK_LOG", "warning")  # so that the demo can be read
    settings = _settings(data, http)
    document = None if config is None else _checked(config)
    configure_logging(settings.log_level, "up")
    lock = _claim(settings.data)
    stopping = threading.Event()
    stop_on_signals(stopping)
    supervisor = Supervisor(_children(settings), settings.run)
    steps = FirstSteps(settings, supervisor, document, demo=demo, stopping=stopping)
    health = Health()
    health.watch("services", supervisor.problem)
    health.watch("first steps", steps.problem)
    server = HealthServer("127.0.0.1", 0, health)
    server.start()
    supervisor.start()
    announce(settings.run / f"{UP}.json", server.address)
    steps.start()
    supervisor.run(stopping)
    steps.join()
    server.close()
    os.close(lock)
    raise typer.Exit(steps.exit_code)


def _settings(data: Path | None, http: str | None) -> Settings:
    if data is not None:
        os.environ["CROSSDOCK_DATA"] = str(data)
    if http is not None:
        os.environ["CROSSDOCK_HTTP"] = http
    settings = settings_or_exit()
    os.environ["CROSSDOCK_DATA"] = str(settings.data)
    return settings


def _checked(config: Path) -> dict[str, Any]:
    """Return what a gateway.yaml says; what is wrong with it ends the command before it begins."""
    document = read_document(config)
    try:
        parse_gateway(document.data)
    except ConfigError as error:
        name_fields(document, [(each.field, each.message) for each in error.problems])
    checked: dict[str, Any] = document.data
    return checked


def _claim(data: Path) -> int:
    """Make the data directory and lock it, so that two gateways never share one by accident."""
    try:
        data.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        _fail(f"{data}: {error.strerror}; choose a directory that can be written to with --data")
    if not try_lock(lock):
        _fail(f"{data} is in use by another `crossdock up`; stop it, or choose another --data")
    return lock


def _fail(message: str) -> NoReturn:
    typer.echo(f"crossdock: {message}", err=True)
    raise typer.Exit(1)


def _children(settings: Settings) -> list[Child]:
    """Return the services: config-api at the address asked for, the others anywhere on loopback.

    config-api's ``/readyz`` speaks for all of them.
    """
    requires = {"CROSSDOCK_REQUIRES": ",".join((UP, *OTHERS))}
    api = Child(API, [API], requires | {"CROSSDOCK_HTTP": _http(settings)})
    return [api, *(Child(name, [name], {"CROSSDOCK_HTTP": "127.0.0.1:0"}) for name in OTHERS)]


def _http(settings: Settings) -> str:
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    return f"{host}:{settings.http_port}"
