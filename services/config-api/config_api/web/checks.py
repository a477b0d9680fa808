"""Checks of targets, saved or not: the tester does them."""

from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Any

from fastapi import APIRouter

from config_api.answers import CheckAnswer
from config_api.kept import with_secrets_of
from config_api.web.body import JsonObject, described
from config_api.web.objects import Name
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from crossdock.bus.topology import CHECKS
from crossdock.config.snapshot import parse_object
from crossdock.errors import NoReply
from crossdock.messages import CheckFinished, CheckRequested


_TIMEOUT_SECONDS = 30.0
_AT_ONCE = 8  # a check of a hanging target must not use up the threads that serve everyone

_EXAMPLE = {"type": "dicom", "host": "pacs.example", "port": 104, "called_ae_title": "ARCHIVE"}


def router(parts: Parts) -> APIRouter:
    """Return the routes that check a saved target and settings not saved yet."""
    routes = APIRouter(tags=["checks"])
    free = BoundedSemaphore(_AT_ONCE)

    def check(target: dict[str, Any]) -> CheckAnswer:
        if not free.acquire(blocking=False):
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Too many checks run; try again.")
        try:
            return _check(parts, target)
        finally:
            free.release()

    @routes.post(
        "/targets/{name}/check",
        responses=documented(404),
        summary="Check a target",
        operation_id="check_target",
    )
    def check_saved(name: Name) -> CheckAnswer:
        target = parts.configuration.current().gateway.target(name)
        if target is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"There is no target {name!r}.")
        return check(target.model_dump(mode="json"))

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
        return check(parse_object("targets", named).model_dump(mode="json"))

    return routes


def _check(parts: Parts, target: dict[str, Any]) -> CheckAnswer:
    try:
        answer = parts.bus.request(CHECKS, CheckRequested(target=target), timeout=_TIMEOUT_SECONDS)
    except NoReply:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE, "The tester does not answer: is it running?"
        ) from None
    if not isinstance(answer, CheckFinished):
        raise TypeError(f"the tester answered {answer.type}")
    report = answer.report
    return CheckAnswer(target=answer.target, green=report.green, report=report, at=answer.at)
