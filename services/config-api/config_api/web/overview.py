"""The page that shows at a glance what runs, what waits and what needs a person."""

import secrets
import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from config_api.database import DatabaseUnavailable
from config_api.records import Page
from config_api.waiting import explained, window_words
from config_api.web.health import revision_in_force
from config_api.web.parts import Parts
from crossdock import __version__
from crossdock.config import Gateway
from crossdock.model import DeliveryState, ParcelState


_PAGE = Page(limit=50)


def router(parts: Parts) -> APIRouter:
    """Return the overview page, at ``/``."""
    routes = APIRouter(include_in_schema=False)
    environment = Environment(
        loader=PackageLoader("config_api.web"), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("overview.html")

    @routes.get("/")
    def overview() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        body = template.render(nonce=nonce, version=__version__, **_facts(parts))
        return HTMLResponse(body, headers=_headers(nonce))

    return routes


def _headers(nonce: str) -> dict[str, str]:
    """Return headers by which a browser loads nothing, runs nothing, and leaves no trace."""
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _facts(parts: Parts) -> dict[str, Any]:
    own = parts.health.problems()
    services = [("config-api", own)]
    services += [
        (answer.service, answer.problems)
        for answer in parts.neighbours.answers(revision_in_force(parts))
    ]
    try:
        return {"services": services, **_from_database(parts)}
    except DatabaseUnavailable as error:
        return {"services": services, "unavailable": str(error), **_from_nothing()}


def _from_database(parts: Parts) -> dict[str, Any]:
    revision = parts.configuration.current()
    now = time.time()
    return {
        "unavailable": "",
        "revision": revision.number,
        "gateway": revision.gateway,
        "counts": _by_state(parts.records.counts()),
        "deliveries": explained(
            parts.records.deliveries(_PAGE), revision.gateway, parts.records, now
        ),
        "held": parts.records.parcels(_PAGE, state=ParcelState.HELD.value),
        "windows": {each.name: window_words(each, now) for each in revision.gateway.targets},
        "checks": {each.target: each for each in parts.checks.standings()},
        "unfinished": parts.records.unfinished(),
    }


def _from_nothing() -> dict[str, Any]:
    return {
        "revision": 0,
        "gateway": Gateway(),
        "counts": _by_state({}),
        "deliveries": [],
        "held": [],
        "windows": {},
        "checks": {},
        "unfinished": {},
    }


def _by_state(counts: dict[tuple[str, str], int]) -> dict[str, int]:
    totals = {state.value: 0 for state in DeliveryState}
    for (_, state), count in counts.items():
        totals[state] = totals.get(state, 0) + count
    return totals
