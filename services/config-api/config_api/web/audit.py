"""The record of who did what to parcels and deliveries."""

from typing import Annotated

from fastapi import APIRouter, Query

from config_api.answers import ActionAnswer, Listing
from config_api.web.parts import Parts
from config_api.web.problems import documented


_LARGEST = 2**31 - 1

Limit = Annotated[int, Query(ge=1, le=500, description="Actions per page.")]
Before = Annotated[int | None, Query(ge=1, le=_LARGEST, description="Only older actions.")]


def router(parts: Parts) -> APIRouter:
    """Return the route that lists what people did."""
    routes = APIRouter(tags=["audit"])

    @routes.get(
        "/audit",
        responses=documented(),
        summary="List who did what to parcels and deliveries, newest first",
        description="Changes of the configuration, pauses among them, are in the revisions.",
        operation_id="list_actions",
    )
    def index(limit: Limit = 50, before: Before = None) -> Listing[ActionAnswer]:
        found = parts.actions.list(before, limit)
        more = len(found) == limit
        return Listing(items=found, next=str(found[-1].number) if more else None)

    return routes
