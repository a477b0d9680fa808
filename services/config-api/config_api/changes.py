"""What differs between two configurations, in the words of an operator."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel

from crossdock.config.snapshot import KINDS


Document = dict[str, Any]

NOUNS = {"store_nodes": "store node", "targets": "target", "rules": "rule"}


class Change(BaseModel):
    """One object that differs; ``fields`` are those that a changed one has otherwise."""

    kind: Literal["store_nodes", "targets", "rules"]
    name: str
    change: Literal["added", "removed", "changed", "moved"]
    fields: list[str] = []


def changes_between(old: Document, new: Document) -> list[Change]:
    """Return what must be done to ``old`` to get ``new``; empty if they are the same."""
    return [change for kind in KINDS for change in _of_kind(kind, old, new)]


def summary(changes: Iterable[Change]) -> str:
    """Return the changes in one line, such as ``target archive changed (port)``."""
    return ", ".join(_words(change) for change in changes)


def _words(change: Change) -> str:
    fields = f" ({', '.join(change.fields)})" if change.fields else ""
    return f"{NOUNS[change.kind]} {change.name} {change.change}{fields}"


def _of_kind(kind: Any, old: Document, new: Document) -> Iterable[Change]:
    before = {item["name"]: item for item in old.get(kind, ())}
    after = {item["name"]: item for item in new.get(kind, ())}
    for name in before.keys() - after.keys():
        yield Change(kind=kind, name=name, change="removed")
    for name, item in after.items():
        if name not in before:
            yield Change(kind=kind, name=name, change="added")
        elif item != before[name]:
            yield Change(
                kind=kind, name=name, change="changed", fields=_differing(before[name], item)
            )
    yield from _moved(kind, list(before), list(after))


def _differing(old: Document, new: Document) -> list[str]:
    return sorted(field for field in old.keys() | new.keys() if old.get(field) != new.get(field))


def _moved(kind: Any, before: list[str], after: list[str]) -> Iterable[Change]:
    """Name the first object whose place among those that stayed is another one."""
    stayed_before = [name for name in before if name in after]
    stayed_after = [name for name in after if name in before]
    for old, new in zip(stayed_before, stayed_after, strict=True):
        if old != new:
            yield Change(kind=kind, name=new, change="moved")
            return
