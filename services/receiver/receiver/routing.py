"""Decides which instances of a parcel go to which targets. Pure: no clock, no disk, no network."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from crossdock.config import Gateway, Rule
from crossdock.config.expression import FACTS, Expression
from crossdock.model import Instance, Priority


@dataclass(slots=True)
class Wanted:
    """What one target gets: the numbers of the instances, and the rules that said so.

    ``priority`` is that of its most urgent rule, ``fallback`` that of the first rule with one.
    """

    numbers: list[int] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    priority: Priority = Priority.OFF_PEAK
    fallback: str = ""

    def add(self, number: int, rule: Rule) -> None:
        """Let a rule want an instance; a target gets each instance once."""
        if not self.numbers or self.numbers[-1] != number:
            self.numbers.append(number)
        if rule.name not in self.rules:
            self.rules.append(rule.name)
        if rule.priority.before(self.priority):
            self.priority = rule.priority
        self.fallback = self.fallback or rule.fallback or ""


@dataclass(slots=True)
class Routing:
    """The result for one parcel: what each target gets, and what nobody wanted."""

    wanted: dict[str, Wanted] = field(default_factory=dict)
    unwanted: list[int] = field(default_factory=list)


class Rules:
    """The enabled rules of a configuration, compiled once."""

    def __init__(self, gateway: Gateway) -> None:
        self._rules = [
            (rule, Expression(rule.when) if rule.when else None)
            for rule in gateway.rules
            if rule.enabled
        ]

    def keywords(self, store_node: str) -> set[str]:
        """Return the DICOM keywords whose values the rules for a store node look at."""
        names: set[str] = set()
        for _, expression in self._for(store_node):
            if expression is not None:
                names |= expression.names
        return names.difference(FACTS)

    def route(self, store_node: str, instances: Iterable[tuple[int, Mapping[str, str]]]) -> Routing:
        """Return where the instances of a parcel go.

        ``instances`` are pairs of number and values: keyword or fact of the association → text.
        """
        routing = Routing()
        rules = self._for(store_node)
        for number, values in instances:
            targets = [
                (target, rule)
                for rule, expression in rules
                if expression is None or expression(values)
                for target in rule.targets
            ]
            for target, rule in targets:
                routing.wanted.setdefault(target, Wanted()).add(number, rule)
            if not targets:
                routing.unwanted.append(number)
        return routing

    def _for(self, store_node: str) -> Sequence[tuple[Rule, Expression | None]]:
        return [
            (rule, expression)
            for rule, expression in self._rules
            if not rule.store_nodes or store_node in rule.store_nodes
        ]

    def explain(self, store_node: str) -> str:
        """Return in words why a parcel from ``store_node`` was wanted by nobody."""
        names = [rule.name for rule, _ in self._for(store_node)]
        if not names:
            return "no enabled rule applies to this store node; add one, then route it again"
        listed = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")  # noqa: PLR2004
        return f"no rule wanted it ({listed}); change a rule, then route it again"


def facts_of(store_node: str, instance: Instance) -> dict[str, str]:
    """Return what a rule may ask of the association that an instance came in on."""
    return {
        "store_node": store_node,
        "calling_ae_title": instance.calling_ae_title,
        "called_ae_title": instance.called_ae_title,
        "address": instance.address,
    }
