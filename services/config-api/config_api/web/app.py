"""Puts the routes together, and completes the OpenAPI description."""

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from config_api.answers import Problem
from config_api.web import (
    audit,
    checks,
    chosen,
    deliveries,
    health,
    objects,
    overview,
    parcels,
    problems,
    revisions,
    secrets,
    targets,
    waiting,
)
from config_api.web.guard import Guard
from config_api.web.objects import Kind
from config_api.web.parts import Parts
from config_api.wishes import DiscardFilter, Filter, Move, Reason, Send
from crossdock import __version__
from crossdock.config import Rule, StoreNode, Target
from crossdock.config.targets import MODELS


KINDS = (
    Kind(
        key="store_nodes",
        path="store-nodes",
        model=StoreNode,
        schema="StoreNode",
        example={"name": "main", "ae_title": "CROSSDOCK", "port": 11112, "accept": "any"},
    ),
    Kind(
        key="targets",
        path="targets",
        model=Target,
        schema="Target",
        example={
            "name": "archive",
            "type": "dicom",
            "host": "pacs.example",
            "port": 104,
            "called_ae_title": "ARCHIVE",
        },
    ),
    Kind(
        key="rules",
        path="rules",
        model=Rule,
        schema="Rule",
        example={"name": "ct", "when": 'Modality == "CT"', "targets": ["archive"]},
    ),
)

_DESCRIPTION = """The configuration and the ledger of a Crossdock gateway.

Errors are `application/problem+json`; `errors` names the fields. Every answer about the
configuration carries its revision as `ETag`; a change with `If-Match` is refused (412) where
another revision is in force. Long lists come in pages: `next` is the `before` of the next one.
"""


def create_app(parts: Parts) -> FastAPI:
    """Return the ASGI application."""
    app = FastAPI(
        title="Crossdock",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    problems.install(app)
    app.include_router(health.router(parts))
    app.include_router(overview.router(parts))
    app.include_router(_api(parts), prefix="/api/v1")
    app.add_middleware(Guard, token=parts.token, registry=parts.registry)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's way to extend it
    return app


def _api(parts: Parts) -> APIRouter:
    routes = APIRouter()
    for kind in KINDS:
        routes.include_router(objects.router(kind, parts))
    nouns = (checks, chosen, deliveries, parcels, revisions, secrets, targets, waiting, audit)
    for noun in nouns:
        routes.include_router(noun.router(parts))
    return routes


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the description with what FastAPI cannot see: bodies we read, problems, the token."""
    if app.openapi_schema is None:
        described = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            separate_input_output_schemas=False,
        )
        components = described.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas |= _schemas()
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}, {}]
        app.openapi_schema = described
    return app.openapi_schema


def _schemas() -> dict[str, Any]:
    template = "#/components/schemas/{model}"
    models = (Problem, Reason, Filter, DiscardFilter, Move, Send)
    kinds = [(model, "validation") for model in models]
    _, definitions = models_json_schema(kinds, ref_template=template)  # type: ignore[arg-type]  # literals widen
    references = {name: f"#/components/schemas/{model.__name__}" for name, model in MODELS.items()}
    target = {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "type", "mapping": references},
    }
    schemas: dict[str, Any] = definitions["$defs"] | {"Target": target}
    return schemas
