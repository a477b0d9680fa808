"""What waits for a target: how much, since when, why, and when it is tried again."""

from http import HTTPStatus

from fastapi import APIRouter

from config_api.answers import WaitingAnswer
from config_api.web.objects import Name
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from crossdock.config.targets import Target


def router(parts: Parts) -> APIRouter:
    """Return the route that tells what waits for a target."""
    routes = APIRouter(tags=["deliveries"])

    @routes.get(
        "/targets/{name}/waiting",
        responses=documented(404),
        summary="Get what waits for a target, why, and when it is tried again",
        operation_id="get_waiting_of_target",
    )
    def get(name: Name) -> WaitingAnswer:
        return parts.records.waiting(configured(parts, name).name)

    return routes


def configured(parts: Parts, name: str) -> Target:
    """Return a target of the configuration in force.

    Raises:
        Refusal: 404, there is none of that name.
    """
    target = parts.configuration.current().gateway.target(name)
    if target is None:
        raise Refusal(HTTPStatus.NOT_FOUND, f"There is no target {name!r}.")
    return target
