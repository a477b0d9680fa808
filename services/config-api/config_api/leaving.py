"""What becomes of the deliveries of a target that is removed, renamed, or becomes one of another type.

They are never dropped by the way: the change is refused unless its maker chooses. A target whose
deliveries are not done yet is kept, draining, until they are: delivered, moved or given up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from config_api.changes import Document


PATTERN = r"^(drain|discard|move:[A-Za-z0-9][A-Za-z0-9._-]{0,63})$"

_CHOICES = (
    "choose with waiting=drain (they are delivered, then it is removed), waiting=move:OTHER "
    "or waiting=discard"
)
_CHOICES_OF_RETYPED = (
    "choose with waiting=move:OTHER or waiting=discard, or change it when they are done"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The choice: ``to`` is the target that they are moved to."""

    how: Literal["drain", "move", "discard"]
    to: str = ""

    @classmethod
    def read(cls, text: str | None) -> "Waiting | None":
        """Return the choice that a text of ``PATTERN`` is."""
        if text is None:
            return None
        how, _, to = text.partition(":")
        return cls(cast(Literal["drain", "move", "discard"], how), to)

    @property
    def ends(self) -> bool:
        """Whether they are ended now, and not by their delivery."""
        return self.how != "drain"


@dataclass(frozen=True, slots=True)
class Leaving:
    """The targets that a change takes away, or makes ones of another type, by name."""

    removed: frozenset[str]
    retyped: frozenset[str]
    draining: frozenset[str]

    @classmethod
    def between(cls, old: Document, new: Document) -> "Leaving":
        """Return what leaves when ``old`` becomes ``new``; ``draining`` did so before."""
        before = {item["name"]: item for item in old.get("targets", ())}
        after = {item["name"]: item for item in new.get("targets", ())}
        return cls(
            removed=frozenset(before.keys() - after.keys()),
            retyped=frozenset(
                name
                for name in before.keys() & after.keys()
                if before[name]["type"] != after[name]["type"]
            ),
            draining=frozenset(name for name, item in before.items() if item.get("draining")),
        )

    def refusal(self, left: dict[str, int], waiting: Waiting | None) -> str:
        """Return why the change cannot be made with so many unfinished deliveries, or nothing."""
        for name in sorted(self.retyped & left.keys()):
            return f"target {name!r} has {_deliveries(left[name])}: {_CHOICES_OF_RETYPED}"
        if waiting is None:
            for name in sorted((self.removed - self.draining) & left.keys()):
                return f"target {name!r} has {_deliveries(left[name])}: {_CHOICES}"
        return ""


def _deliveries(count: int) -> str:
    return "1 unfinished delivery" if count == 1 else f"{count} unfinished deliveries"


def keep_draining(old: Document, new: Document, names: Iterable[str]) -> Document:
    """Return ``new`` with some targets of ``old`` that it lacks, each in its place, draining."""
    wanted, targets = set(names), list(new.get("targets", ()))
    for place, item in enumerate(old.get("targets", ())):
        if item["name"] in wanted:
            targets.insert(place, {**item, "draining": True})
    return {**new, "targets": targets}


def without_draining(document: Document) -> Document:
    """Return a configuration without the targets that are drained."""
    targets = [item for item in document.get("targets", ()) if not item.get("draining")]
    return {**document, "targets": targets}
