"""Targets as operators see them: how each stands, and stopping one for a while."""

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter

from config_api.answers import Done, Listing, StandingAnswer, TargetStanding
from config_api.changes import Document
from config_api.configuration import Wish
from config_api.pauses import paused
from config_api.queued import Unfinished
from config_api.web.body import Actor, IfMatch, JsonObject, described
from config_api.web.objects import Name
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from config_api.wishes import Reason, read
from crossdock.config import Target


_REASON = {"reason": "the archive is upgraded tonight"}


def router(parts: Parts) -> APIRouter:
    """Return the routes that tell how targets stand, and that pause and resume one."""
    routes = APIRouter(tags=["targets"])
    _standings(routes, parts)
    _pausing(routes, parts)
    return routes


def _standings(routes: APIRouter, parts: Parts) -> None:
    @routes.get(
        "/standings",
        responses=documented(),
        summary="List how each target stands: paused or not, green or red, and what waits for it",
        operation_id="list_standings",
    )
    def index() -> Listing[TargetStanding]:
        return Listing(items=standings(parts))


def _pausing(routes: APIRouter, parts: Parts) -> None:
    @routes.post(
        "/targets/{name}/pause",
        openapi_extra=described("Reason", _REASON),
        responses=documented(400, 404, 409, 412, 413, 415),
        summary="Pause a target: deliveries in work are finished, the others wait",
        operation_id="pause_target",
    )
    def pause(name: Name, body: JsonObject, expected: IfMatch, actor: Actor) -> Done:
        reason = read(Reason, body).reason.strip()
        summary = f"target {name} paused: {reason}"
        return _set(parts, name, reason, Wish(actor, expected, summary=summary))

    @routes.post(
        "/targets/{name}/resume",
        responses=documented(404, 409, 412),
        summary="Resume a paused target: what waited is sent",
        operation_id="resume_target",
    )
    def resume(name: Name, expected: IfMatch, actor: Actor) -> Done:
        return _set(parts, name, "", Wish(actor, expected, summary=f"target {name} resumed"))


def _set(parts: Parts, name: str, reason: str, wish: Wish) -> Done:
    def edit(document: Document) -> Document:
        if name not in (item["name"] for item in document.get("targets", ())):
            raise Refusal(HTTPStatus.NOT_FOUND, f"There is no target {name!r}.")
        return paused(document, name, reason)

    changed = parts.configuration.change(edit, wish)
    number = changed.revision.number
    if not changed.changes:
        return Done(detail=f"no change: revision {number} stays in force")
    return Done(detail=f"revision {number} is in force")


def standings(parts: Parts) -> list[TargetStanding]:
    """Return how each configured target stands, in the order of the configuration."""
    targets = parts.configuration.current().gateway.targets
    checks = {each.target: each for each in parts.checks.standings()}
    unfinished = parts.records.unfinished()
    return [
        _standing(target, checks.get(target.name), unfinished.get(target.name, Unfinished()))
        for target in targets
    ]


def _standing(target: Target, check: StandingAnswer | None, left: Unfinished) -> TargetStanding:
    return TargetStanding(
        target=target.name,
        type=target.type,
        state=_state(target),
        reason=target.paused,
        green=None if check is None else check.green,
        since=None if check is None else check.since,
        checked_at=None if check is None else check.at,
        waiting=left.waiting,
        held=left.held,
        oldest_waiting=left.oldest_waiting,
    )


def _state(target: Target) -> Literal["enabled", "paused", "disabled", "draining"]:
    """Return the state; one that stands still is not drained, whatever it is meant to be."""
    if not target.enabled:
        return "disabled"
    if target.paused:
        return "paused"
    return "draining" if target.draining else "enabled"
