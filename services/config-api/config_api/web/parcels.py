"""Parcels: what arrived, what nobody wanted, and what a person does about that."""

import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from config_api.answers import Done, Listing, ParcelAnswer, ParcelSummary
from config_api.configuration import Conflict
from config_api.waiting import explained
from config_api.web.body import Actor, JsonObject, described
from config_api.web.deliveries import Study
from config_api.web.paging import Paging, listing
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from config_api.web.requests import carry_out, target_for
from config_api.wishes import Reason, Send, read
from crossdock.messages import (
    Message,
    ParcelDiscardRequested,
    ParcelRouteRequested,
    ParcelSendRequested,
)
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
    def route(identifier: Identifier, actor: Actor) -> Done:
        return _ask(parts, actor, identifier, ParcelRouteRequested(parcel=identifier))

    @routes.post(
        "/{identifier}/discard",
        openapi_extra=described("Reason", _REASON),
        responses=documented(400, 404, 409, 413, 415),
        summary="Give a held parcel up",
        operation_id="discard_parcel",
    )
    def discard(identifier: Identifier, body: JsonObject, actor: Actor) -> Done:
        reason = read(Reason, body).reason
        request = ParcelDiscardRequested(parcel=identifier, reason=reason)
        return _ask(parts, actor, identifier, request, reason)

    @routes.post(
        "/{identifier}/send",
        openapi_extra=described("Send", {"target": "research", "instances": None}),
        responses=documented(400, 404, 409, 413, 415),
        summary="Send a parcel to a target, again where it was sent there before",
        description="Works for as long as the parcel is in the spool: waiting, held by nobody's "
        "rule, or delivered and kept for its time. Where it was sent to the target before, it is "
        "sent whole again, as a delivery that waits anew; its history stays.",
        operation_id="send_parcel",
    )
    def send(identifier: Identifier, body: JsonObject, actor: Actor) -> Done:
        wish = read(Send, body)
        target, revision = target_for(parts, wish.target)
        request = ParcelSendRequested(
            parcel=identifier,
            target=target.name,
            protocol=target.type,
            revision=revision,
            instances=None if wish.instances is None else tuple(wish.instances),
        )
        return _ask(parts, actor, identifier, request, f"to {target.name}")


def _ask(parts: Parts, actor: str, identifier: str, request: Message, words: str = "") -> Done:
    """Ask the router even where the ledger knows nothing: the spool is the truth."""
    try:
        return carry_out(parts, actor, identifier, request, words)
    except Conflict:
        if parts.records.parcel(identifier) is None:
            raise _not_found(identifier) from None
        raise


def _not_found(identifier: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, f"There is no parcel {identifier!r}.")
