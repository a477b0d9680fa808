"""Spans to an OpenTelemetry collector, by OTLP over HTTP. The one place that uses OpenTelemetry.

Endpoint, headers, sampler, limits and the like are OpenTelemetry's own environment variables.
"""

import os
import secrets
import threading

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from crossdock import __version__
from crossdock.model import trace_id
from crossdock.traces import Span


_KINDS = {"receive": SpanKind.SERVER, "attempt": SpanKind.CLIENT}
_CLOSE_SECONDS = 1.0  # a collector that is away must not keep a service from ending
_SPAN_ID_DIGITS = 16


class Exporter:
    """Hands spans to OpenTelemetry's queue, which drops what a slow collector does not take."""

    def __init__(self, service: str) -> None:
        self._ids = _Ids()
        self._lock = threading.Lock()
        name = os.environ.get("OTEL_SERVICE_NAME") or f"crossdock-{service}"
        resource = Resource.create({"service.name": name, "service.version": __version__})
        self._provider = TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("crossdock", __version__)

    def take(self, span: Span) -> None:
        """Export a span, later and in a thread of its own. Safe from any thread."""
        trace = trace_id(span.parcel)
        first = int(trace[-_SPAN_ID_DIGITS:], 16)
        with self._lock:
            self._ids.trace, self._ids.span = int(trace, 16), first if span.first else 0
            started = self._tracer.start_span(
                span.name,
                Context() if span.first else self._below(int(trace, 16), first),
                kind=_KINDS.get(span.name, SpanKind.INTERNAL),
                attributes={"crossdock.parcel": span.parcel}
                | {f"crossdock.{key}": value for key, value in span.attributes.items()},
                start_time=_nanoseconds(span.started),
            )
        if span.failure:
            started.set_status(Status(StatusCode.ERROR, span.failure))
        started.end(_nanoseconds(span.ended))

    def close(self) -> None:
        """Export what is left, as far as the collector takes it within a second."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    def _below(self, trace: int, first: int) -> Context:
        """Return the context of a parcel's first span, which another process may have made.

        Whether it is sampled is asked of the sampler as it was then: it decides by the trace id.
        """
        decision = self._provider.sampler.should_sample(None, trace, "receive").decision
        sampled = decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        parent = SpanContext(trace, first, is_remote=True, trace_flags=flags)
        return set_span_in_context(NonRecordingSpan(parent), Context())


class _Ids(IdGenerator):
    """Gives the identifiers of the span that is about to be made; ``span`` 0 is a random one."""

    trace = 0
    span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span or secrets.randbits(64) or 1

    def is_trace_id_random(self) -> bool:
        return True


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
