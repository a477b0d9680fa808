"""The whole configuration as one document, and how it is checked.

``parse_gateway`` is the strict form, for people: every mistake is named by its field and nothing is
accepted until all is right. ``usable_gateway`` is the tolerant form, for services: an object that
cannot be used is left out and said so, and the others work on.
"""

from collections.abc import Iterable
from typing import Any

import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from crossdock.config.fields import Configured
from crossdock.config.rules import Rule
from crossdock.config.store_nodes import StoreNode
from crossdock.config.targets import MODELS, Target
from crossdock.errors import ConfigError, FieldProblem


log = structlog.get_logger(__name__)

KINDS = ("store_nodes", "targets", "rules")
_MODELS: dict[str, TypeAdapter[Any]] = {
    "store_nodes": TypeAdapter(StoreNode),
    "targets": TypeAdapter(Target),
    "rules": TypeAdapter(Rule),
}


class Gateway(Configured):
    """Everything that ``gateway.yaml`` says."""

    store_nodes: tuple[StoreNode, ...] = ()
    targets: tuple[Target, ...] = ()
    rules: tuple[Rule, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as plain data, without the fields that have their default."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def target(self, name: str) -> "Target | None":
        """Return the target of that name, None if there is none."""
        return next((target for target in self.targets if target.name == name), None)


def parse_gateway(document: object) -> Gateway:
    """Check a whole configuration.

    Raises:
        ConfigError: every field that is wrong, such as ``targets[2].port``.
    """
    try:
        gateway = Gateway.model_validate(document)
    except ValidationError as error:
        raise ConfigError(field_problems(error)) from None
    problems = [*_repeated_names(gateway), *_clashing_ports(gateway), *_missing_names(gateway)]
    if problems:
        raise ConfigError(problems)
    return gateway


def parse_object(kind: str, document: object) -> BaseModel:
    """Check one object of a kind (``store_nodes``, ``targets`` or ``rules``) by itself.

    Raises:
        ConfigError: every field that is wrong, such as ``port``.
    """
    try:
        model: BaseModel = _MODELS[kind].validate_python(document)
    except ValidationError as error:
        raise ConfigError(field_problems(error)) from None
    return model


def usable_gateway(document: dict[str, Any]) -> Gateway:
    """Return what can be used of a configuration that another version may have written.

    Objects that do not validate are left out, each with a line in the log.
    """
    usable: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for index, item in enumerate(document.get(kind) or []):
            try:
                usable[kind].append(parse_object(kind, item))
            except ConfigError as error:
                log.error("config.object_unusable", kind=kind, index=index, problem=str(error))
    return Gateway.model_validate(usable)


def field_problems(error: ValidationError) -> list[FieldProblem]:
    """Return a pydantic error as fields and plain words, without the values."""
    return [
        FieldProblem(_path(_where(item)), _plain(item["msg"]))
        for item in error.errors(include_input=False, include_url=False, include_context=False)
    ]


def _where(item: ErrorDetails) -> tuple[int | str, ...]:
    """Return where an error is, without the tags that pydantic puts in for a target's type."""
    location = item["loc"]
    if item["type"] in ("union_tag_not_found", "union_tag_invalid"):
        location = (*location, "type")
    tag = 2 if location[:1] == ("targets",) else 0
    of_the_whole = item["type"] == "value_error"  # a model's own rule, not an unknown field
    if len(location) > tag + (not of_the_whole) and location[tag] in _TYPES:
        location = location[:tag] + location[tag + 1 :]
    return location


def _path(location: Iterable[int | str]) -> str:
    """Return ``targets[2].port`` for ``("targets", 2, "port")``."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path or "(document)"


_TYPES = tuple(sorted(MODELS))
_OR_TYPES = " or ".join((", ".join(_TYPES[:-1]), _TYPES[-1]))


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ")
    if message == "Extra inputs are not permitted":
        return "there is no such field"
    if message == "Field required":
        return "is missing"
    if message.startswith("Unable to extract tag"):
        return f"is missing; use {_OR_TYPES}"
    if message.startswith("Input tag"):
        return f"use {_OR_TYPES}"
    return message


def _repeated_names(gateway: Gateway) -> Iterable[FieldProblem]:
    for kind in KINDS:
        seen: set[str] = set()
        for index, item in enumerate(getattr(gateway, kind)):
            if item.name in seen:
                yield FieldProblem(f"{kind}[{index}].name", f"{item.name!r} is there twice")
            seen.add(item.name)


def _clashing_ports(gateway: Gateway) -> Iterable[FieldProblem]:
    seen: dict[int, str] = {}
    for index, node in enumerate(gateway.store_nodes):
        if not node.enabled:
            continue
        if node.port in seen:
            yield FieldProblem(
                f"store_nodes[{index}].port", f"{node.port} is {seen[node.port]!r}'s port already"
            )
        seen[node.port] = node.name


def _missing_names(gateway: Gateway) -> Iterable[FieldProblem]:
    targets = {target.name for target in gateway.targets}
    closed = {target.name: "is for queries only" for target in gateway.targets if not target.stores}
    closed |= {target.name: "takes no new work" for target in gateway.targets if target.draining}
    nodes = {node.name for node in gateway.store_nodes}
    for index, rule in enumerate(gateway.rules):
        yield from _unknown(rule.targets, targets, f"rules[{index}].targets", "target")
        for place, name in enumerate(rule.targets):
            if name in closed:
                field = f"rules[{index}].targets[{place}]"
                yield FieldProblem(field, f"target {name!r} {closed[name]}")
        yield from _unknown(rule.store_nodes, nodes, f"rules[{index}].store_nodes", "store node")


def _unknown(
    names: tuple[str, ...], known: set[str], field: str, noun: str
) -> Iterable[FieldProblem]:
    for index, name in enumerate(names):
        if name not in known:
            yield FieldProblem(f"{field}[{index}]", f"there is no {noun} {name!r}")
