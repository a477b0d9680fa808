"""The whole configuration as one document, and how it is checked.

``parse_gateway`` is the strict form, for people: every mistake is named by its field and nothing is
accepted until all is right. ``usable_gateway`` is the tolerant form, for services: an object that
cannot be used is left out and said so, and the others work on.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from crossdock.config.fields import Configured
from crossdock.config.rules import Rule
from crossdock.config.store_nodes import StoreNode
from crossdock.config.targets import MODELS, StorageScpTarget, Target
from crossdock.errors import ConfigError, FieldProblem
from crossdock.model import Priority


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

    def priorities(self) -> dict[str, frozenset[Priority]]:
        """Return by target the priorities that its deliveries may have; normal is always one."""
        found: dict[str, set[Priority]] = {each.name: {Priority.NORMAL} for each in self.targets}
        following = _fallbacks(self)
        for rule in self.rules:
            for first in (*rule.targets, rule.fallback) if rule.enabled else ():
                for name in _way(first, following):
                    found.setdefault(name, {Priority.NORMAL}).add(rule.priority)
        return {name: frozenset(priorities) for name, priorities in found.items()}

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
    problems = [
        *_repeated_names(gateway),
        *_clashing_ports(gateway),
        *_missing_names(gateway),
        *_unheard_commitments(gateway),
    ]
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
    yield from _wrong_fallbacks(gateway, targets, closed)
    for index, rule in enumerate(gateway.rules):
        yield from _unknown(rule.targets, targets, f"rules[{index}].targets", "target")
        for place, name in enumerate(rule.targets):
            if name in closed:
                field = f"rules[{index}].targets[{place}]"
                yield FieldProblem(field, f"target {name!r} {closed[name]}")
        yield from _unknown(rule.store_nodes, nodes, f"rules[{index}].store_nodes", "store node")


def _wrong_fallbacks(
    gateway: Gateway, targets: set[str], closed: Mapping[str, str]
) -> Iterable[FieldProblem]:
    """Name the fallbacks that cannot be used, or lead back to where they came from."""
    named = [(f"targets[{n}].fallback", each.fallback) for n, each in enumerate(gateway.targets)]
    named += [(f"rules[{n}].fallback", each.fallback) for n, each in enumerate(gateway.rules)]
    for field, name in named:
        if name is None:
            continue
        if name not in targets:
            yield FieldProblem(field, f"there is no target {name!r}")
        elif name in closed:
            yield FieldProblem(field, f"target {name!r} {closed[name]}")
    yield from _fallbacks_to_themselves(gateway)


def _fallbacks_to_themselves(gateway: Gateway) -> Iterable[FieldProblem]:
    following = _fallbacks(gateway)
    for index, target in enumerate(gateway.targets):
        way = _way(target.name, following)
        if following[target.name] and following.get(way[-1]) == target.name:
            back = " → ".join([*way, target.name])
            yield FieldProblem(f"targets[{index}].fallback", f"leads back to itself: {back}")
    for index, rule in enumerate(gateway.rules):
        if rule.fallback in rule.targets:
            words = f"{rule.fallback!r} is one of the rule's targets"
            yield FieldProblem(f"rules[{index}].fallback", words)


def _fallbacks(gateway: Gateway) -> dict[str, str | None]:
    return {target.name: target.fallback for target in gateway.targets}


def _way(first: str | None, following: Mapping[str, str | None]) -> list[str]:
    """Return a target and the fallbacks after it, each once."""
    way: list[str] = []
    while first is not None and first not in way:
        way.append(first)
        first = following.get(first)
    return way


def _unheard_commitments(gateway: Gateway) -> Iterable[FieldProblem]:
    nodes = {node.name: node for node in gateway.store_nodes}
    for index, target in enumerate(gateway.targets):
        if not isinstance(target, StorageScpTarget) or target.commitment is None:
            continue
        name, field = target.commitment.listen, f"targets[{index}].commitment.listen"
        if name is None:
            continue
        yield from _unknown((name,), set(nodes), field, "store node", index=False)
        node = nodes.get(name)
        us = "our senders" if target.pass_calling_ae_title else target.calling_ae_title
        if node and node.check_called_ae_title and node.ae_title != us:
            words = f"the target calls as {us}, but store node {name!r} is {node.ae_title}"
            yield FieldProblem(field, f"{words}: results would be refused")


def _unknown(
    names: tuple[str, ...], known: set[str], field: str, noun: str, *, index: bool = True
) -> Iterable[FieldProblem]:
    for place, name in enumerate(names):
        if name not in known:
            where = f"{field}[{place}]" if index else field
            yield FieldProblem(where, f"there is no {noun} {name!r}")
