"""Parcels: what arrived, what nobody wanted, and what a person does about that."""

import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from config_api.answers import Done, Listing, ParcelAnswer, ParcelSummary
from config_api.configuration import Conflict
from config_api.waiting import explained
from config_api.web.body import JsonObject, described
from config_api.web.deliveries import Study
from config_api.web.paging import Paging, listing
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from config_api.web.reasons import reason_in
from config_api.web.requests import ask_router
from crossdock.messages import Message, ParcelDiscardRequested, ParcelRouteRequested
from crossdock.model import ParcelState


Identifier = Annotated[str, Path(description="The parcel's identifier.", max_length=200)]
StoreNodeName = Annotated[str | None, Query(description="Name of the store node.", max_length=64)]

_REASON = {"reason": "test images"}


def router(parts: Parts) -> APIRouter:
    """Return the routes of parcels."""
    routes = APIRouter(prefix="/parcels", tags=["parcels"])
    _reading(routes, parts)
    _requests(routes, parts)
    return routes


def _reading(routes: APIRouter, parts: Parts) -> None:
    @routes.get(
        "",
        responses=documented(),
        summary="List parcels, newest first",
        operation_id="list_parcels",
    )
    def index(
        page: Paging,
        state: ParcelState | None = None,
        study: Study = None,
        store_node: StoreNodeName = None,
    ) -> Listing[ParcelSummary]:
        found = parts.records.parcels(page, state=state, study=study, store_node=store_node)
        return listing(found, page.limit)

    @routes.get(
        "/{identifier}",
        responses=documented(404),
        summary="Get a parcel with its deliveries",
        operation_id="get_parcel",
    )
    def get(identifier: Identifier) -> ParcelAnswer:
        found = parts.records.parcel(identifier)
        if found is None:
            raise _not_found(identifier)
        gateway = parts.configuration.current().gateway
        deliveries = explained(found.deliveries, gateway, parts.records, time.time())
        return found.model_copy(update={"deliveries": deliveries})


def _requests(routes: APIRouter, parts: Parts) -> None:
    @routes.post(
        "/{identifier}/route",
        responses=documented(404, 409),
        summary="Route a held parcel again, by the rules of now",
        operation_id="route_parcel",
    )
    def route(identifier: Identifier) -> Done:
        return _ask(parts, identifier, ParcelRouteRequested(parcel=identifier))

    @routes.post(
        "/{identifier}/discard",
        openapi_extra=described("Reason", _REASON),
        responses=documented(400, 404, 409, 413, 415),
        summary="Give a held parcel up",
        operation_id="discard_parcel",
    )
    def discard(identifier: Identifier, body: JsonObject) -> Done:
        request = ParcelDiscardRequested(parcel=identifier, reason=reason_in(body))
        return _ask(parts, identifier, request)


def _ask(parts: Parts, identifier: str, request: Message) -> Done:
    """Ask the router even where the ledger knows nothing: the spool is the truth."""
    try:
        return ask_router(parts.bus, request)
    except Conflict:
        if parts.records.parcel(identifier) is None:
            raise _not_found(identifier) from None
        raise


def _not_found(identifier: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, f"There is no parcel {identifier!r}.")
