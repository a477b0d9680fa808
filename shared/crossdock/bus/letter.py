"""A message as it travels, with the little that the bus itself must know of it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields


MAX_NAME = 128
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Letter:
    """A body and its envelope.

    Attributes:
        body: the encoded message.
        failures: how often a handler has failed on it.
        not_before: Unix time before which it is not handed out; 0 is now.
        reply_to: the queue that waits for an answer, empty if nobody does.
        correlation: says which request an answer belongs to.
        deadline: Unix time after which the requester has given up; 0 is never.
        reason: why a dead letter is dead.
    """

    body: bytes
    failures: int = 0
    not_before: float = 0.0
    reply_to: str = ""
    correlation: str = ""
    deadline: float = 0.0
    reason: str = ""

    def headers(self) -> dict[str, str]:
        """Return the envelope as text, without what is at its default."""
        values = {name: getattr(self, name) for name in _TYPES}
        return {name: str(value) for name, value in values.items() if value}


_TYPES: dict[str, type] = {f.name: type(f.default) for f in fields(Letter) if f.name != "body"}


def read(body: object, headers: Mapping[str, object] | None) -> Letter:
    """Return the letter that a broker handed out; what makes no sense in its headers is ignored."""
    known: dict[str, str | int | float] = {}
    for name, kind in _TYPES.items():
        try:
            value = kind((headers or {}).get(name, kind()))
        except (TypeError, ValueError):
            continue
        if kind is str or (math.isfinite(value) and value >= 0):
            known[name] = value
    if isinstance(body, str):
        body = body.encode(errors="surrogateescape")
    return Letter(body if isinstance(body, bytes) else b"", **known)  # type: ignore[arg-type]  # each value was made by its field's type


def check_name(name: str) -> str:
    """Return the name of a queue or topic if every broker can carry it.

    Raises:
        ValueError: it is empty, longer than 128, starts with a dot, or holds anything but letters,
            digits, dot, dash and underscore.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a queue: use 1 to {MAX_NAME} of A-Z a-z 0-9 . _ -")
    return name


def dead(queue: str) -> str:
    """Return the queue where the letters of ``queue`` go that nobody could handle."""
    return f"dead.{queue}"
