"""Deliveries: what was sent where, what was not and why, and what a person does about it."""

import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from config_api.answers import DeliveryAnswer, DeliverySummary, Done, Listing
from config_api.configuration import Conflict
from config_api.waiting import explained
from config_api.web.body import Actor, JsonObject, described
from config_api.web.paging import Paging, listing
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from config_api.web.requests import carry_out, target_for
from config_api.wishes import Move, Reason, read
from crossdock.messages import (
    DeliveryDiscardRequested,
    DeliveryMoveRequested,
    DeliveryRetryRequested,
    Message,
)
from crossdock.model import DeliveryState


Identifier = Annotated[str, Path(description="PARCEL-TARGET.", max_length=300)]
Target = Annotated[str | None, Query(description="Name of the target.", max_length=64)]
Study = Annotated[str | None, Query(description="StudyInstanceUID.", max_length=128)]
Parcel = Annotated[str | None, Query(description="Identifier of the parcel.", max_length=200)]

_REASON = {"reason": "sent to the archive by hand"}


def router(parts: Parts) -> APIRouter:
    """Return the routes of deliveries."""
    routes = APIRouter(prefix="/deliveries", tags=["deliveries"])
    _reading(routes, parts)
    _requests(routes, parts)
    return routes


def _reading(routes: APIRouter, parts: Parts) -> None:
    @routes.get(
        "",
        responses=documented(),
        summary="List deliveries, newest first",
        operation_id="list_deliveries",
    )
    def index(
        page: Paging,
        state: DeliveryState | None = None,
        target: Target = None,
        study: Study = None,
        parcel: Parcel = None,
    ) -> Listing[DeliverySummary]:
        found = parts.records.deliveries(
            page, state=state, target=target, study=study, parcel=parcel
        )
        gateway = parts.configuration.current().gateway
        return listing(explained(found, gateway, parts.records, time.time()), page.limit)

    @routes.get(
        "/{identifier}",
        responses=documented(404),
        summary="Get a delivery with its attempts and exceptions",
        operation_id="get_delivery",
    )
    def get(identifier: Identifier) -> DeliveryAnswer:
        found = parts.records.delivery(identifier)
        if found is None:
            raise _not_found(identifier)
        gateway = parts.configuration.current().gateway
        return explained([found], gateway, parts.records, time.time())[0]


def _requests(routes: APIRouter, parts: Parts) -> None:
    @routes.post(
        "/{identifier}/retry",
        responses=documented(404, 409),
        summary="Try a held or waiting delivery now",
        operation_id="retry_delivery",
    )
    def retry(identifier: Identifier, actor: Actor) -> Done:
        return _ask(parts, actor, identifier, DeliveryRetryRequested(delivery=identifier))

    @routes.post(
        "/{identifier}/discard",
        openapi_extra=described("Reason", _REASON),
        responses=documented(400, 404, 409, 413, 415),
        summary="Give a held or waiting delivery up",
        operation_id="discard_delivery",
    )
    def discard(identifier: Identifier, body: JsonObject, actor: Actor) -> Done:
        reason = read(Reason, body).reason
        request = DeliveryDiscardRequested(delivery=identifier, reason=reason)
        return _ask(parts, actor, identifier, request, reason)

    @routes.post(
        "/{identifier}/move",
        openapi_extra=described("Move", {"target": "archive2"}),
        responses=documented(400, 404, 409, 413, 415),
        summary="Send what a held or waiting delivery misses to another target instead",
        description="The delivery ends as discarded, with the other target as the reason.",
        operation_id="move_delivery",
    )
    def move(identifier: Identifier, body: JsonObject, actor: Actor) -> Done:
        target, revision = target_for(parts, read(Move, body).target)
        request = DeliveryMoveRequested(
            delivery=identifier, target=target.name, protocol=target.type, revision=revision
        )
        return _ask(parts, actor, identifier, request, f"to {target.name}")


def _ask(parts: Parts, actor: str, identifier: str, request: Message, words: str = "") -> Done:
    """Ask the router even where the ledger knows nothing: the spool is the truth."""
    try:
        return carry_out(parts, actor, identifier, request, words)
    except Conflict:
        if parts.records.delivery(identifier) is None:
            raise _not_found(identifier) from None
        raise


def _not_found(identifier: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, f"There is no delivery {identifier!r}.")
