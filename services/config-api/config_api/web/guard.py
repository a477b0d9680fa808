"""Stands before everything: who may ask at all, and what is said when we fail.

Without a token only this machine may ask, and a browser on this machine must not become the tool
of some web site: a name that points to 127.0.0.1 (DNS rebinding) and requests made by other sites
(cross-site request forgery) are refused. With a token every call but health and metrics brings it.
"""

import hmac
import time
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config_api.web.body import JSON_TYPES, media_type
from config_api.web.problems import problem
from crossdock.telemetry import raised_at


log = structlog.get_logger(__name__)

_OPEN = ("/healthz", "/readyz", "/metrics")
_READING = ("GET", "HEAD", "OPTIONS")
_METHODS = (*_READING, "POST", "PUT", "PATCH", "DELETE")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OWN_SITE = ("same-origin", "none")
_BUCKETS = (0.01, 0.1, 1.0, 10.0)


class Guard:
    """ASGI middleware, the outermost one: refuses, measures, and answers for our own bugs."""

    def __init__(self, app: ASGIApp, token: str | None, registry: CollectorRegistry) -> None:
        self._app = app
        self._token = token
        labels = ["method", "route", "status"]
        self._requests = Counter(
            "crossdock_http_requests_total", "HTTP requests.", labels, registry=registry
        )
        self._seconds = Histogram(
            "crossdock_http_request_duration_seconds",
            "Time to answer.",
            ["route"],
            registry=registry,
            buckets=_BUCKETS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        statuses: list[int] = []

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        await self._answer(scope, receive, noting)
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests.labels(method, route, str(statuses[-1] if statuses else 0)).inc()
        self._seconds.labels(route).observe(time.monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 — outermost: a bug must not show its insides
            kind = type(error).__qualname__
            log.error("http.failed", method=scope["method"], error=kind, where=raised_at(error))
            if not started:
                words = "Crossdock failed; its log says why."
                await problem(HTTPStatus.INTERNAL_SERVER_ERROR, words)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._token is None:
            return _not_from_here(scope["method"], headers)
        if scope["path"] in _OPEN or _presents(headers, self._token):
            return None
        return problem(
            HTTPStatus.UNAUTHORIZED,
            "Send `Authorization: Bearer TOKEN` with the token in CROSSDOCK_API_TOKEN, for "
            'example: curl -H "Authorization: Bearer $CROSSDOCK_API_TOKEN" …',
            headers={"WWW-Authenticate": 'Bearer realm="crossdock"'},
        )


def _presents(headers: Mapping[str, str], token: str) -> bool:
    scheme, _, presented = headers.get("authorization", "").partition(" ")
    sent = presented.strip().encode("latin-1")  # as ASGI decodes headers
    return hmac.compare_digest(sent, token.encode()) and scheme.lower() == "bearer"


def _not_from_here(method: str, headers: Headers) -> Response | None:
    host = headers.get("host", "")
    if _host_name(host) not in _LOOPBACK:
        return problem(
            HTTPStatus.FORBIDDEN,
            "Without CROSSDOCK_API_TOKEN only requests to localhost are answered.",
        )
    if method in _READING:
        return None
    origin = headers.get("origin")
    foreign = origin is not None and _authority(origin) != host.lower()
    if foreign or headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        return problem(HTTPStatus.FORBIDDEN, "Another web site must not change anything here.")
    if _brings_no_json(headers):
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send Content-Type: application/json.")
    return None


def _brings_no_json(headers: Headers) -> bool:
    """Whether a body of another type comes; no body and no type at all is fine."""
    content_type = headers.get("content-type")
    if content_type is None:
        empty = headers.get("content-length", "0") == "0"
        return not empty or "transfer-encoding" in headers
    return media_type(content_type) not in JSON_TYPES


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path:
        return None
    return parts.hostname


def _authority(origin: str) -> str | None:
    """Return the HOST:PORT of an origin, None if it has none, as in ``null``."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
