"""Checks of targets, saved or not, which the tester makes; and what earlier ones found."""

from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Annotated, Any

from fastapi import APIRouter, Query

from config_api.answers import CheckAnswer, Listing, StandingAnswer
from config_api.checks import KEPT
from config_api.kept import with_secrets_of
from config_api.web.body import JsonObject, described
from config_api.web.objects import Name
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from config_api.web.waiting import configured
from crossdock.bus.topology import CHECKS
from crossdock.config.snapshot import parse_object
from crossdock.errors import NoReply
from crossdock.messages import CheckFinished, CheckRequested


_TIMEOUT_SECONDS = 30.0
_AT_ONCE = 8  # a check of a hanging target must not use up the threads that serve everyone

Limit = Annotated[int, Query(ge=1, le=KEPT, description="How many checks.")]

_EXAMPLE = {"type": "dicom", "host": "pacs.example", "port": 104, "called_ae_title": "ARCHIVE"}


def router(parts: Parts) -> APIRouter:
    """Return the routes that check a target, and tell what earlier checks found."""
    routes = APIRouter(tags=["checks"])
    _checking(routes, parts)
    _recorded(routes, parts)
    return routes


def _checking(routes: APIRouter, parts: Parts) -> None:
    free = BoundedSemaphore(_AT_ONCE)

    def check(target: dict[str, Any], *, saved: bool) -> CheckAnswer:
        if not free.acquire(blocking=False):
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Too many checks run; try again.")
        try:
            return _check(parts, CheckRequested(target=target, saved=saved))
        finally:
            free.release()

    @routes.post(
        "/targets/{name}/check",
        responses=documented(404),
        summary="Check a target",
        operation_id="check_target",
    )
    def check_saved(name: Name) -> CheckAnswer:
        return check(configured(parts, name).model_dump(mode="json"), saved=True)

    @routes.post(
        "/checks",
        openapi_extra=described("Target", _EXAMPLE),
        responses=documented(400, 413, 415),
        summary="Check settings before they are saved",
        operation_id="check_settings",
    )
    def check_unsaved(target: JsonObject) -> CheckAnswer:
        named = {"name": "unsaved", **target}
        saved = parts.configuration.current().document.get("targets", ())
        old = next((item for item in saved if item["name"] == named["name"]), None)
        named = with_secrets_of(named, old)
        return check(parse_object("targets", named).model_dump(mode="json"), saved=False)


def _recorded(routes: APIRouter, parts: Parts) -> None:
    @routes.get(
        "/checks",
        responses=documented(),
        summary="List the last check of each target",
        operation_id="list_checks",
    )
    def index() -> Listing[StandingAnswer]:
        names = {target.name for target in parts.configuration.current().gateway.targets}
        found = parts.checks.standings()
        return Listing(items=[each for each in found if each.target in names])

    @routes.get(
        "/targets/{name}/checks",
        responses=documented(404),
        summary="List the checks of a target, newest first",
        description=f"The newest {KEPT} are kept, whether made by the clock or on demand.",
        operation_id="list_checks_of_target",
    )
    def of_target(name: Name, limit: Limit = KEPT) -> Listing[CheckAnswer]:
        return Listing(items=parts.checks.history(configured(parts, name).name, limit))


def _check(parts: Parts, question: CheckRequested) -> CheckAnswer:
    try:
        answer = parts.bus.request(CHECKS, question, timeout=_TIMEOUT_SECONDS)
    except NoReply:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE, "The tester does not answer: is it running?"
        ) from None
    if not isinstance(answer, CheckFinished):
        raise TypeError(f"the tester answered {answer.type}")
    report = answer.report
    return CheckAnswer(
        target=answer.target,
        green=report.green,
        report=report,
        at=answer.at,
        seconds=answer.seconds,
    )
