"""Logs, metrics and health: the same three for every service.

Logs are one JSON object per line on standard error (coloured text on a terminal), with an event
name and plain fields. No patient data: field names that could carry it are not used, and a test
searches the log of a whole run for a patient's name.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from traceback import extract_tb
from typing import Any
from urllib.parse import parse_qs

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Gauge,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from crossdock import __version__
from crossdock.model import trace_id


disable_created_metrics()  # when each counter began: twice the series, and nobody asks for it

BUILD_INFO = Gauge("crossdock_build_info", "Version of this process.", ["version", "service"])
READY = Gauge("crossdock_ready", "1 while nothing keeps this process from its work, else 0.")
CONNECTED = Gauge("crossdock_broker_connected", "1 while this process has its broker, else 0.")

Probe = Callable[[], str | None]
"""Returns None when well, otherwise the reason in words."""


def configure_logging(level: str, service: str, **fields: object) -> None:
    """Set up structured logs for this process; every line has the service and ``fields``."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(message)s")
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _with_trace,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _with(service=service, **fields),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    BUILD_INFO.labels(__version__, service).set(1)


def _with(**fields: object) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> Any:
        event.update(fields)
        return event

    return add


def _with_trace(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Add the trace id to a line about a parcel or a delivery."""
    subject = event.get("parcel") or event.get("delivery")
    if isinstance(subject, str):
        event["trace_id"] = trace_id(subject.partition("-")[0])
    return event


class Health:
    """What a process says of itself: alive, ready, and if not, why.

    Probes are named after what they look at, such as ``store node main`` or ``broker``.
    """

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}
        self.revision: Callable[[], int | None] = lambda: None
        """The revision of the configuration that this process works by, if it works by one."""

    def watch(self, name: str, probe: Probe) -> None:
        """Make readiness depend on ``probe``; a second probe of the name replaces the first."""
        self._probes[name] = probe

    def problems(self, exclude: tuple[str, ...] = ()) -> dict[str, str]:
        """Return what is not well, name → reason; the probes of ``exclude`` are not asked.

        Empty means ready.
        """
        probes = [each for each in self._probes.items() if each[0] not in exclude]
        answers = {name: probe() for name, probe in probes}
        return {name: reason for name, reason in answers.items() if reason is not None}


class Configured(Collector):
    """The metrics of ``registry``, without those of targets and store nodes that are gone.

    What was counted is kept, so that a target that comes back goes on where it was.
    """

    def __init__(self, registry: Collector = REGISTRY) -> None:
        self.registry = registry
        self._names: dict[str, frozenset[str]] = {}

    def keep(self, label: str, names: Iterable[str]) -> None:
        """From now on leave out what has a label with none of these names."""
        self._names[label] = frozenset(names)

    def collect(self) -> Iterable[Metric]:
        """Return the families, each with the samples of what is configured."""
        for family in self.registry.collect():
            family.samples = [each for each in family.samples if self._is_kept(each.labels)]
            yield family

    def _is_kept(self, labels: Mapping[str, str]) -> bool:
        return all(
            label not in labels or labels[label] in names for label, names in self._names.items()
        )


class HealthServer:
    """Serves ``/healthz``, ``/readyz`` and ``/metrics`` over HTTP.

    ``/readyz?exclude=broker`` is about everything but the broker; ``exclude`` may be repeated.
    ``registry`` has the metrics, those of this process by default.
    """

    def __init__(
        self, host: str, port: int, health: Health, registry: Collector = REGISTRY
    ) -> None:
        bound = {"health": health, "registry": registry}
        handler = type("_BoundHandler", (_Handler,), bound)
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="health", daemon=True
        )

    @property
    def address(self) -> str:
        """The HOST:PORT that it listens on."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    health: Health
    registry: Collector
    timeout = 10.0

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(200, "application/json", b'{"alive": true}')
        elif self.path.partition("?")[0] == "/readyz":
            query = parse_qs(self.path.partition("?")[2])
            problems = self.health.problems(tuple(query.get("exclude", ())))
            body = readiness(problems, self.health.revision())
            self._answer(503 if problems else 200, "application/json", body)
        elif self.path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.registry))
        else:
            self._answer(404, "text/plain", b"Here are /healthz, /readyz and /metrics.\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet: a scrape every few seconds is no event."""


def readiness(problems: Mapping[str, str], revision: int | None = None) -> bytes:
    """Return the body of ``/readyz``: ready or not, the reasons, and the configuration's number."""
    said = {"ready": not problems, "problems": dict(problems), "revision": revision}
    return json.dumps(said).encode()


def raised_at(error: BaseException) -> str:
    """Return the file and line that raised an error: what a log may say of one of unknown origin.

    Its text may quote a patient or a secret.
    """
    frames = extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
