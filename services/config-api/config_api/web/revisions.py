"""The configuration as a whole: read it, replace it, look back, and go back."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from config_api.answers import ChangeAnswer, Listing, RevisionAnswer, RevisionSummary
from config_api.configuration import Changed, Edit, Revision, Wish, replace_with
from config_api.kept import without_secrets
from config_api.leaving import Waiting
from config_api.web.body import Actor, IfMatch, JsonObject, described
from config_api.web.objects import WaitingFor, etag, shown
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from crossdock.config import Gateway
from crossdock.config.snapshot import KINDS


_MAX_NUMBER = 2**31 - 1

DryRun = Annotated[bool, Query(description="Say what would change and change nothing.")]
Number = Annotated[int, Path(description="The revision's number.", ge=1, le=_MAX_NUMBER)]
Limit = Annotated[int, Query(ge=1, le=500, description="Revisions per page.")]
Before = Annotated[int | None, Query(ge=1, le=_MAX_NUMBER, description="Only older revisions.")]

_EXAMPLE: dict[str, Any] = {
    "store_nodes": [{"name": "main", "ae_title": "CROSSDOCK", "port": 11112, "accept": "any"}],
    "targets": [{"name": "research", "type": "folder", "path": "/data/research"}],
    "rules": [{"name": "everything", "targets": ["research"]}],
}


def router(parts: Parts) -> APIRouter:
    """Return the routes of the whole configuration and its revisions."""
    routes = APIRouter()
    _whole(routes, parts)
    _history(routes, parts)
    return routes


def _whole(routes: APIRouter, parts: Parts) -> None:
    @routes.get(
        "/gateway",
        tags=["gateway"],
        response_model=Gateway,
        response_model_exclude_unset=True,
        responses=documented(),
        summary="Get the whole configuration, without the fields that have their default",
        operation_id="get_gateway",
    )
    def get() -> Any:
        revision = parts.configuration.current()
        document = {kind: revision.document.get(kind, []) for kind in KINDS}
        return shown(revision, document)

    @routes.put(
        "/gateway",
        tags=["gateway"],
        openapi_extra=described("Gateway", _EXAMPLE),
        responses=documented(400, 409, 412, 413, 415),
        summary="Replace the whole configuration",
        operation_id="put_gateway",
    )
    def put(
        document: JsonObject,
        expected: IfMatch,
        actor: Actor,
        response: Response,
        *,
        dry_run: DryRun = False,
        waiting: WaitingFor = None,
    ) -> ChangeAnswer:
        wish = Wish(actor, expected, Waiting.read(waiting), dry_run=dry_run)
        return _change(parts, replace_with(document), wish, response)


def _history(routes: APIRouter, parts: Parts) -> None:
    @routes.get(
        "/revisions",
        tags=["revisions"],
        responses=documented(),
        summary="List revisions, newest first",
        operation_id="list_revisions",
    )
    def index(limit: Limit = 50, before: Before = None) -> Listing[RevisionSummary]:
        found = [
            RevisionSummary(**_said(item)) for item in parts.configuration.revisions(before, limit)
        ]
        more = len(found) == limit and found[-1].revision > 1
        return Listing(items=found, next=str(found[-1].revision) if more else None)

    @routes.get(
        "/revisions/{number}",
        tags=["revisions"],
        responses=documented(404),
        summary="Get a revision with its whole configuration",
        operation_id="get_revision",
    )
    def get(number: Number) -> RevisionAnswer:
        revision = _existing(parts, number)
        return RevisionAnswer(**_said(revision), document=without_secrets(revision.document))

    @routes.post(
        "/revisions/{number}/restore",
        tags=["revisions"],
        responses=documented(404, 409, 412),
        summary="Put an earlier configuration in force again, as a new revision",
        operation_id="restore_revision",
    )
    def restore(
        number: Number,
        expected: IfMatch,
        actor: Actor,
        response: Response,
        *,
        waiting: WaitingFor = None,
    ) -> ChangeAnswer:
        summary = f"revision {number} restored"
        wish = Wish(actor, expected, Waiting.read(waiting), summary=summary)
        edit = replace_with(_existing(parts, number).document)
        return _change(parts, edit, wish, response)


def _change(parts: Parts, edit: Edit, wish: Wish, response: Response) -> ChangeAnswer:
    changed: Changed = parts.settling.change(edit, wish)
    response.headers["ETag"] = etag(changed.revision)
    number = changed.revision.number
    return ChangeAnswer(
        revision=number,
        dry_run=wish.dry_run,
        changes=changed.changes,
        draining=changed.draining,
    )


def _existing(parts: Parts, number: int) -> Revision:
    revision = parts.configuration.revision(number)
    if revision is None:
        raise Refusal(HTTPStatus.NOT_FOUND, f"There is no revision {number}.")
    return revision


def _said(revision: Revision) -> dict[str, Any]:
    return {
        "revision": revision.number,
        "at": revision.at,
        "actor": revision.actor,
        "summary": revision.summary,
    }
