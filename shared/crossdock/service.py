"""One running service: its settings, bus, configuration and health, from start to stop."""

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from crossdock.bus import Bus, connect
from crossdock.config import Gateway
from crossdock.config.client import ConfigClient, OnChange
from crossdock.settings import Settings
from crossdock.telemetry import (
    CONNECTED,
    READY,
    Configured,
    Health,
    HealthServer,
    configure_logging,
)


log = structlog.get_logger(__name__)


class Service:
    """What every service process has. A context manager: closing it closes all parts.

    Usage, in a service's ``__main__``::

        with Service("router", settings) as service:
            service.follow_configuration(on_change)
            service.run()

    The parts given to ``closing`` are closed first, in the reverse of their order, so that a
    consumer is gone before the bus that it uses.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        configure_logging(settings.log_level, name)
        self.name = name
        self.settings = settings
        self.health = Health()
        self.metrics = Configured()
        self.stopping = threading.Event()
        self.stack = ExitStack()
        settings.data.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.bus: Bus = self.stack.enter_context(connect(settings.broker, name=name))
        self.health.watch("broker", self._broker_problem)
        CONNECTED.set_function(lambda: self.bus.connected)
        READY.set_function(lambda: not self.health.problems())

    def follow_configuration(self, on_change: OnChange) -> ConfigClient:
        """Start following the configuration; not ready before the first one is there."""
        copy = self.settings.data / "config" / f"{self.name}.json"

        def changed(gateway: Gateway, revision: int) -> None:
            on_change(gateway, revision)
            self.metrics.keep("target", (each.name for each in gateway.targets))
            self.metrics.keep("store_node", (each.name for each in gateway.store_nodes))

        client = ConfigClient(self.bus, self.name, copy, changed)
        client.start()
        self.stack.callback(client.close)
        self.health.watch("configuration", client.problem)
        self.health.revision = lambda: client.revision
        return client

    def closing(self, close: Callable[[], None]) -> None:
        """Have ``close`` called when the service ends."""
        self.stack.callback(close)

    def run(self) -> None:
        """Serve health and metrics until SIGTERM, SIGINT, or the end of the supervisor."""
        host, port = self.settings.http_host, self.settings.http_port
        server = HealthServer(host, port, self.health, self.metrics)
        server.start()
        self.stack.callback(server.close)
        self.announce(server.address)
        stop_on_signals(self.stopping)
        log.info("service.started", http=server.address)
        self.stopping.wait()
        log.info("service.stopping")

    def announce(self, address: str) -> None:
        """Write down where this process serves HTTP, for a supervisor on the same machine."""
        file = self.settings.run / f"{self.name}.json"
        announce(file, address)
        self.stack.callback(file.unlink, missing_ok=True)

    def _broker_problem(self) -> str | None:
        return None if self.bus.connected else "the broker cannot be reached"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stack.close()


def announce(file: Path, address: str) -> None:
    """Write down the pid of this process and where it serves HTTP."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"pid": os.getpid(), "http": address}))
    temporary.replace(file)


def stop_on_signals(stopping: threading.Event) -> None:
    """Set ``stopping`` on SIGTERM and SIGINT, and when a supervisor has died.

    A supervisor gives its children a pipe as standard input and ``CROSSDOCK_SUPERVISED=1``; the
    pipe ends with it, however it ends.
    """
    # A handler runs in the middle of whatever the main thread does. If that is waiting for
    # ``stopping``, setting it there could wait for a lock that the main thread itself holds.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_until_ended, args=(reader, stopping), daemon=True).start()
    if os.environ.get("CROSSDOCK_SUPERVISED") == "1":
        threading.Thread(target=_until_ended, args=(0, stopping), daemon=True).start()


def _until_ended(descriptor: int, stopping: threading.Event) -> None:
    """Wait until something is said on a pipe, or it ends."""
    os.read(descriptor, 1)
    stopping.set()
