"""Sealing the secrets of the configuration with another key."""

from fastapi import APIRouter

from config_api.answers import ResealAnswer
from config_api.configuration import Wish
from config_api.kept import unopened, with_first_key
from config_api.web.body import Actor
from config_api.web.parts import Parts
from config_api.web.problems import documented
from crossdock.config.snapshot import KINDS


_SUMMARY = "secrets sealed with the first key"


def router(parts: Parts) -> APIRouter:
    """Return the routes of secrets."""
    routes = APIRouter(prefix="/secrets", tags=["secrets"])

    @routes.post(
        "/reseal",
        responses=documented(409),
        summary="Seal all secrets with the first key, so that the others are needed no longer",
        description="Those of earlier revisions as well, in place. What is sealed with it already stays.",
        operation_id="reseal_secrets",
    )
    def reseal(actor: Actor) -> ResealAnswer:
        wish = Wish(actor, summary=_SUMMARY)
        revision = parts.configuration.change(with_first_key, wish).revision
        rewritten = parts.configuration.rewrite(with_first_key)
        lost = [
            f"{kind} {item['name']}"
            for kind in KINDS
            for item in revision.document.get(kind, ())
            if unopened(item)
        ]
        outcome = f"{rewritten} earlier revisions; {len(lost)} objects with what no key opens"
        parts.actions.note(actor, "reseal", "secrets", outcome)
        return ResealAnswer(revision=revision.number, rewritten=rewritten, unopened=lost)

    return routes
