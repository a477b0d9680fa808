"""An OpenTelemetry collector: takes spans by OTLP over HTTP (protobuf) and keeps them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from servers.serving import serving


@dataclass(frozen=True)
class Seen:
    """A span as it came in; identifiers in hex, times in seconds."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    seconds: float
    failed: str
    attributes: dict[str, str | int]


@dataclass
class Collector:
    """A running collector, and what it has taken."""

    port: int
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.seen += [_seen(str(service), span) for span in scope.spans]


def _seen(service: str, span: object) -> Seen:
    return Seen(
        service=service,
        name=span.name,
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        failed=span.status.message if span.status.code == 2 else "",
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: object) -> dict[str, str | int]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
        for pair in pairs  # type: ignore[attr-defined]  # a protobuf sequence
    }


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                running.take(body)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Collector(server.server_address[1])
    with serving(server):
        yield running
