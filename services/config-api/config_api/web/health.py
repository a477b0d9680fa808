"""Whether we live, whether all is ready, and the metrics."""

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from config_api.database import DatabaseUnavailable
from config_api.web.parts import Parts
from crossdock.telemetry import readiness


def router(parts: Parts) -> APIRouter:
    """Return ``/healthz``, ``/readyz`` and ``/metrics``."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"alive": True}

    @routes.get("/readyz")
    def readyz() -> Response:
        in_force = revision_in_force(parts)
        problems = parts.health.problems() | parts.neighbours.problems(in_force)
        body = readiness(problems, in_force)
        return Response(body, 503 if problems else 200, media_type="application/json")

    @routes.get("/metrics")
    def metrics() -> Response:
        body = generate_latest() + generate_latest(parts.registry)
        return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return routes


def revision_in_force(parts: Parts) -> int | None:
    """Return the revision in force, None while the database cannot be asked."""
    try:
        return parts.configuration.current().number
    except DatabaseUnavailable:
        return None
