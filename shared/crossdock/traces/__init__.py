"""Traces: what happened to a parcel, step by step, told to OpenTelemetry where somebody wants it.

``begin`` loads OpenTelemetry if an endpoint is configured; without it ``record`` is one comparison.
The trace of a parcel is known from its identifier alone (``model.trace_id``), so that services
need not tell each other.
"""

import importlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog


log = structlog.get_logger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Environment variables that say where spans go; one is enough."""

Value = str | int


@dataclass(frozen=True, slots=True)
class Span:
    """A step in a parcel's way, from ``started`` to ``ended`` (Unix times).

    ``first`` is the step that all others of the parcel hang below, ``failure`` the kind of error.
    """

    name: str
    parcel: str
    started: float
    ended: float
    first: bool
    failure: str
    attributes: Mapping[str, Value]


Take = Callable[[Span], None]


class _Taker:
    """Who takes the spans of this process, None while nobody does."""

    take: Take | None = None


def record(
    name: str,
    parcel: str,
    started: float,
    ended: float | None = None,
    *,
    first: bool = False,
    failure: str = "",
    **attributes: Value,
) -> None:
    """Tell that a step is over, now if ``ended`` is not given. No patient data, no secret."""
    if _Taker.take is not None:
        end = time.time() if ended is None else ended
        _Taker.take(Span(name, parcel, started, end, first, failure, attributes))


def begin(service: str, environment: Mapping[str, str] = os.environ) -> Callable[[], None]:
    """Export the spans of this process if the environment says where to; return what ends it."""
    if not wanted(environment):
        return _nothing
    try:
        exporter = importlib.import_module("crossdock.traces.otel").Exporter(service)
    except ImportError as error:
        advice = "pip install 'crossdock[traces]'"
        log.warning("traces.unavailable", missing=error.name, advice=advice)
        return _nothing
    _Taker.take = exporter.take
    log.info("traces.exported", service=service)

    def end() -> None:
        _Taker.take = None
        exporter.close()

    return end


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment names an endpoint, and does not switch OpenTelemetry off."""
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not off and any(environment.get(name) for name in ENDPOINTS)


def _nothing() -> None:
    """End what was not begun."""
