"""Many deliveries at once: what a filter chooses is tried now, or given up."""

from typing import Annotated

from fastapi import APIRouter, Query

from config_api.answers import BatchAnswer
from config_api.batches import Batches, Wish
from config_api.web.body import Actor, JsonObject, described
from config_api.web.parts import Parts
from config_api.web.problems import documented
from config_api.wishes import DiscardFilter, Filter, read
from crossdock.messages import DeliveryDiscardRequested, DeliveryRetryRequested


DryRun = Annotated[bool, Query(description="Say how many deliveries it would be, and do nothing.")]
After = Annotated[
    str | None, Query(max_length=300, description="Go on where the last answer's `next` says.")
]

_HELD = {"target": "archive", "state": "held"}
_DESCRIPTION = """Chosen are unfinished deliveries that fit all criteria, by what the ledger knows.

Many of them take more than one request: repeat it with `after` as `next` says until that is null.
"""


def router(parts: Parts) -> APIRouter:
    """Return the routes that act on all deliveries that a filter chooses."""
    routes = APIRouter(prefix="/deliveries", tags=["deliveries"])

    @routes.post(
        "/retry",
        openapi_extra=described("Filter", _HELD),
        responses=documented(400, 413, 415),
        summary="Try held and waiting deliveries now that a filter chooses",
        description=_DESCRIPTION,
        operation_id="retry_deliveries",
    )
    def retry(
        body: JsonObject, actor: Actor, after: After = None, *, dry_run: DryRun = False
    ) -> BatchAnswer:
        chosen = read(Filter, body)
        if dry_run:
            return _counted(parts, chosen)
        return _run(parts, actor, chosen, lambda each: DeliveryRetryRequested(delivery=each), after)

    @routes.post(
        "/discard",
        openapi_extra=described("DiscardFilter", {**_HELD, "reason": "sent by hand"}),
        responses=documented(400, 413, 415),
        summary="Give held and waiting deliveries up that a filter chooses",
        description=_DESCRIPTION,
        operation_id="discard_deliveries",
    )
    def discard(
        body: JsonObject, actor: Actor, after: After = None, *, dry_run: DryRun = False
    ) -> BatchAnswer:
        chosen = read(DiscardFilter, body)
        if dry_run:
            return _counted(parts, chosen)
        wish = _giving_up(chosen.reason)
        return _run(parts, actor, chosen, wish, after)

    return routes


def _giving_up(reason: str) -> Wish:
    return lambda each: DeliveryDiscardRequested(delivery=each, reason=reason)


def _counted(parts: Parts, chosen: Filter) -> BatchAnswer:
    matched = parts.records.count_unfinished(chosen.criteria())
    return BatchAnswer(dry_run=True, matched=matched, done=0, refused=[], next=None)


def _run(parts: Parts, actor: str, chosen: Filter, wish: Wish, after: str | None) -> BatchAnswer:
    answer = Batches(parts.records, parts.bus).run(chosen, wish, after).answer()
    action, outcome = "retry", f"{answer.done} of {answer.matched} done"
    if isinstance(chosen, DiscardFilter):
        action, outcome = "discard", f"{chosen.reason}; {outcome}"
    parts.actions.note(actor, action, chosen.words(), outcome)
    return answer
