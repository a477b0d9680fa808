"""Store nodes, targets and rules: the same routes for each kind."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from config_api.answers import Done, Listing
from config_api.changes import NOUNS, Document
from config_api.configuration import Changed, Conflict, Revision, Wish
from config_api.kept import KEPT, is_sealed, with_secrets_of, without_secrets
from config_api.leaving import PATTERN, Waiting
from config_api.pauses import pause_of
from config_api.web.body import Actor, IfMatch, JsonObject, described
from config_api.web.parts import Parts
from config_api.web.problems import Refusal, documented
from crossdock.config import Gateway
from crossdock.config.snapshot import parse_object
from crossdock.errors import ConfigError, FieldProblem


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: its key in ``gateway.yaml``, its path, its model and an example."""

    key: str
    path: str
    model: Any
    schema: str
    example: Document

    @property
    def noun(self) -> str:
        """What people call one of them."""
        return NOUNS[self.key]


Name = Annotated[str, Path(description="The object's name.", max_length=100)]
WaitingFor = Annotated[
    str | None,
    Query(
        pattern=PATTERN,
        description="What becomes of unfinished deliveries of a target that is taken away: `drain` "
        "(it takes no new work and is removed when they are done), `move:OTHER` or `discard`. "
        "Without it the change is refused where there are any.",
    ),
]


def router(kind: Kind, parts: Parts) -> APIRouter:
    """Return the routes of one kind: list and create, and get, put, patch and delete of an item."""
    routes = APIRouter(prefix=f"/{kind.path}", tags=[kind.path])
    _reading(routes, kind, parts)
    _writing(routes, kind, _Objects(kind, parts))
    return routes


def _reading(routes: APIRouter, kind: Kind, parts: Parts) -> None:
    many, one = Listing[kind.model], kind.model  # type: ignore[name-defined]  # the kind's model is a value

    @routes.get(
        "",
        response_model=many,
        responses=documented(),
        summary=f"List the {kind.noun}s",
        operation_id=f"list_{kind.key}",
    )
    def index() -> Any:
        revision = parts.configuration.current()
        items = getattr(revision.gateway, kind.key)
        return shown(revision, {"items": [item.model_dump(mode="json") for item in items]})

    @routes.get(
        "/{name}",
        response_model=one,
        responses=documented(404),
        summary=f"Get a {kind.noun}",
        operation_id=f"get_{kind.key}",
    )
    def get(name: Name) -> Any:
        revision = parts.configuration.current()
        return shown(revision, _named(revision.gateway, kind, name))


def _writing(routes: APIRouter, kind: Kind, objects: "_Objects") -> None:
    body = described(kind.schema, kind.example)
    common: dict[str, Any] = {"response_model": kind.model}

    @routes.post(
        "",
        status_code=201,
        openapi_extra=body,
        responses=documented(400, 409, 412, 413, 415),
        summary=f"Create a {kind.noun}",
        operation_id=f"create_{kind.key}",
        **common,
    )
    def create(item: JsonObject, expected: IfMatch, actor: Actor) -> Any:
        return objects.write(None, lambda _: item, Wish(actor, expected))

    @routes.put(
        "/{name}",
        openapi_extra=body,
        responses={201: {"description": "Created"}, **documented(400, 409, 412, 413, 415)},
        summary=f"Replace a {kind.noun}, or create it",
        operation_id=f"put_{kind.key}",
        **common,
    )
    def put(
        name: Name,
        item: JsonObject,
        expected: IfMatch,
        actor: Actor,
        *,
        waiting: WaitingFor = None,
    ) -> Any:
        wish = Wish(actor, expected, Waiting.read(waiting))
        return objects.write(name, lambda old: {"name": name, **pause_of(old), **item}, wish)

    @routes.patch(
        "/{name}",
        openapi_extra=_merge_patch(kind.example),
        responses=documented(400, 404, 409, 412, 413, 415),
        summary=f"Change some fields of a {kind.noun}",
        description="A JSON merge patch (RFC 7396): null puts a field back to its default.",
        operation_id=f"patch_{kind.key}",
        **common,
    )
    def patch(
        name: Name,
        item: JsonObject,
        expected: IfMatch,
        actor: Actor,
        *,
        waiting: WaitingFor = None,
    ) -> Any:
        def merged(old: Document | None) -> Document:
            if old is None:
                raise _not_found(kind, name)
            merged_item: Document = merge(old, item)
            return merged_item

        return objects.write(name, merged, Wish(actor, expected, Waiting.read(waiting)))

    @routes.delete(
        "/{name}",
        status_code=204,
        response_model=None,
        responses=_kept(kind) | documented(404, 409, 412),
        summary=f"Delete a {kind.noun}",
        operation_id=f"delete_{kind.key}",
    )
    def delete(
        name: Name, expected: IfMatch, actor: Actor, *, waiting: WaitingFor = None
    ) -> Response:
        left = objects.delete(name, Wish(actor, expected, Waiting.read(waiting)))
        if not left:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        detail = f"{left} of its deliveries are unfinished: it is drained, and removed after them"
        return JSONResponse({"detail": detail}, HTTPStatus.ACCEPTED)


class _Objects:
    """Changes the objects of one kind within the whole configuration."""

    def __init__(self, kind: Kind, parts: Parts) -> None:
        self._kind = kind
        self._settling = parts.settling

    def write(
        self,
        name: str | None,
        wanted: Callable[[Document | None], Document],
        wish: Wish,
    ) -> JSONResponse:
        """Put what ``wanted`` makes of the old object in its place, or add it; ``name`` None adds.

        Answers with the object as it is now.
        """
        written = ""
        created = False

        def edit(document: Document) -> Document:
            nonlocal written, created
            items = list(document.get(self._kind.key, ()))
            place = _place(items, name)
            created = place is None
            old = None if place is None else items[place]
            item = self._checked(with_secrets_of(wanted(old), old))
            written = item["name"]
            self._refuse_name(items, place, written)
            if place is None:
                items.append(item)
            else:
                items[place] = item
            changed = {**document, self._kind.key: items}
            self._refuse_dangling(changed)
            return changed

        changed = self._change(edit, wish, lambda items: _place(items, written)).revision
        status = HTTPStatus.CREATED if created else HTTPStatus.OK
        return shown(changed, _named(changed.gateway, self._kind, written), status)

    def delete(self, name: str, wish: Wish) -> int:
        """Remove an object that nothing needs; return how many deliveries keep it for now."""

        def edit(document: Document) -> Document:
            items = list(document.get(self._kind.key, ()))
            place = _place(items, name)
            if place is None:
                raise _not_found(self._kind, name)
            del items[place]
            changed = {**document, self._kind.key: items}
            self._refuse_dangling(changed)
            self._refuse_fallback(changed, name)
            return changed

        return self._change(edit, wish, lambda _items: None).draining.get(name, 0)

    def _change(
        self, edit: Callable[[Document], Document], wish: Wish, place: Callable[[Any], int | None]
    ) -> Changed:
        attempted: Document = {}

        def noting(document: Document) -> Document:
            attempted.clear()
            attempted.update(edit(document))
            return attempted

        try:
            return self._settling.change(noting, wish)
        except ConfigError as error:
            index = place(attempted.get(self._kind.key, ()))
            own = f"{self._kind.key}[{index}]."
            raise ConfigError(
                [FieldProblem(p.field.removeprefix(own), p.message) for p in error.problems]
            ) from None

    def _checked(self, item: Document) -> Document:
        parse_object(self._kind.key, item)
        return item

    def _refuse_name(self, items: list[Document], place: int | None, name: str) -> None:
        taken = _place(items, name)
        if taken is not None and taken != place:
            raise Conflict(f"there is a {self._kind.noun} {name!r} already")

    def _refuse_dangling(self, document: Document) -> None:
        """Refuse to take away the name that a rule goes by."""
        if self._kind.key == "rules":
            return
        known = {item["name"] for item in document[self._kind.key]}
        for rule in document.get("rules", ()):
            for name in rule.get(self._kind.key, ()):
                if name not in known:
                    raise Conflict(
                        f"rule {rule['name']!r} needs {self._kind.noun} {name!r}: "
                        "change the rule first"
                    )

    def _refuse_fallback(self, document: Document, name: str) -> None:
        """Refuse to take away a target that is the fallback of others."""
        if self._kind.key != "targets":
            return
        for kind in ("targets", "rules"):
            for item in document.get(kind, ()):
                if item.get("fallback") == name:
                    raise Conflict(
                        f"{NOUNS[kind]} {item['name']!r} has target {name!r} as its fallback: "
                        f"change the {NOUNS[kind]} first"
                    )


def merge(old: Any, patch: Any) -> Any:
    """Return ``old`` with a JSON merge patch applied (RFC 7396); a secret is replaced whole."""
    if not isinstance(patch, dict) or patch == KEPT:
        return patch
    merged = dict(old) if isinstance(old, dict) and not is_sealed(old) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def shown(revision: Revision, content: Any, status: int = HTTPStatus.OK) -> JSONResponse:
    """Return the answer that shows a part of a revision, without its secrets."""
    return JSONResponse(without_secrets(content), status, headers={"ETag": etag(revision)})


def etag(revision: Revision) -> str:
    """Return the entity tag of everything that the configuration's revision says."""
    return f'"{revision.number}"'


def _place(items: list[Document], name: str | None) -> int | None:
    return next((i for i, item in enumerate(items) if item["name"] == name), None)


def _named(gateway: Gateway, kind: Kind, name: str) -> Document:
    for item in getattr(gateway, kind.key):
        if item.name == name:
            found: Document = item.model_dump(mode="json")
            return found
    raise _not_found(kind, name)


def _not_found(kind: Kind, name: str) -> Refusal:
    return Refusal(HTTPStatus.NOT_FOUND, f"There is no {kind.noun} {name!r}.")


def _kept(kind: Kind) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI of the answer that a target is kept until its deliveries are done."""
    if kind.key != "targets":
        return {}
    return {202: {"model": Done, "description": "Drained first"}}


def _merge_patch(example: Document) -> dict[str, Any]:
    field = next(key for key in reversed(example) if key not in ("name", "type"))
    content = {"schema": {"type": "object"}, "example": {field: example[field]}}
    types = ("application/merge-patch+json", "application/json")
    return {"requestBody": {"required": True, "content": dict.fromkeys(types, content)}}
