"""Deliveries: what was sent where, what was not and why, and what a person does about it."""

import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from config_api.answers import DeliveryAnswer, DeliverySummary, Done, Listing
from config_api.configuration import Conflict
from config_api.waiting import explained
from config_api.web.body import JsonObject, described
from config_api.web.paging import Paging, listing
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from config_api.web.reasons import reason_in
from config_api.web.requests import ask_router
from crossdock.messages import DeliveryDiscardRequested, DeliveryRetryRequested, Message
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
    def retry(identifier: Identifier) -> Done:
        return _ask(parts, identifier, DeliveryRetryRequested(delivery=identifier))

    @routes.post(
        "/{identifier}/discard",
        openapi_extra=described("Reason", _REASON),
        responses=documented(400, 404, 409, 413, 415),
        summary="Give a held or waiting delivery up",
        operation_id="discard_delivery",
    )
    def discard(identifier: Identifier, body: JsonObject) -> Done:
        reason = reason_in(body)
        request = DeliveryDiscardRequested(delivery=identifier, reason=reason)
        return _ask(parts, identifier, request)


def _ask(parts: Parts, identifier: str, request: Message) -> Done:
    """Ask the router even where the ledger knows nothing: the spool is the truth."""
    try:
        return ask_router(parts.bus, request)
    except Conflict:
        if parts.records.delivery(identifier) is None:
            raise _not_found(identifier) from None
        raise


def _not_found(identifier: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, f"There is no delivery {identifier!r}.")
