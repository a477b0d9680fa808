"""Keeps sealed secrets from being read, and lets a document that was read be written back.

Whoever reads a configuration gets ``{"kept": true}`` in the place of a secret; written back it
stands for the secret that is there.
"""

from collections.abc import Callable
from typing import Any

from crossdock.config.sealing import resealed, unseal
from crossdock.config.snapshot import KINDS
from crossdock.errors import SecretUnavailable


KEPT = {"kept": True}


def is_sealed(value: Any) -> bool:
    """Whether a part of a document is a sealed secret."""
    return isinstance(value, dict) and value.keys() == {"sealed"}


def without_secrets(document: Any) -> Any:
    """Return a document, or a part of one, with all that is sealed replaced by ``KEPT``."""
    return _with_each_sealed(document, lambda _: dict(KEPT))


def with_first_key(document: Any) -> Any:
    """Return a document, or a part of one, with all that is sealed sealed with the first key.

    What no key opens stays as it is.
    """
    return _with_each_sealed(document, lambda token: {"sealed": _resealed(token)})


def _with_each_sealed(document: Any, replaced: Callable[[Any], Any]) -> Any:
    """Return a document, or a part of one, in which each secret is what its token is replaced by."""
    if is_sealed(document):
        return replaced(document["sealed"])
    if isinstance(document, dict):
        return {key: _with_each_sealed(value, replaced) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [_with_each_sealed(value, replaced) for value in document]
    return document


def unopened(document: Any) -> bool:
    """Whether there is something sealed in a document, or a part of one, that no key opens."""
    if is_sealed(document):
        return _text_of(document["sealed"]) is None
    if isinstance(document, dict):
        return any(map(unopened, document.values()))
    return isinstance(document, list | tuple) and any(map(unopened, document))


def with_secrets(document: Any, old: Any) -> Any:
    """Return a whole configuration with each ``KEPT`` replaced by what ``old`` has there.

    Objects are the same if they have the same name. A ``KEPT`` for which there is nothing stays. A
    text that is what was sealed there is no change either.
    """
    if not isinstance(document, dict):
        return document
    return document | {
        kind: _objects(document[kind], _by_name(old.get(kind, ())))
        for kind in KINDS
        if isinstance(document.get(kind), list)
    }


def with_secrets_of(item: Any, old: Any) -> Any:
    """Return one object, or a part of one, with each ``KEPT`` replaced by what ``old`` has there."""
    if is_sealed(old) and (item == KEPT or _is_text_of(old["sealed"], item)):
        return old
    if isinstance(item, dict):
        parts: dict[str, Any] = old if isinstance(old, dict) else {}
        return {key: with_secrets_of(value, parts.get(key)) for key, value in item.items()}
    if isinstance(item, list) and isinstance(old, list) and len(old) == len(item):
        return [with_secrets_of(value, part) for value, part in zip(item, old, strict=True)]
    return item


def _is_text_of(token: Any, item: Any) -> bool:
    """Whether a text was sealed as this; of a key that is gone, what is given now replaces it."""
    return isinstance(item, str) and _text_of(token) == item


def _text_of(token: Any) -> str | None:
    try:
        return unseal(token) if isinstance(token, str) else None
    except SecretUnavailable:
        return None


def _resealed(token: Any) -> Any:
    try:
        return resealed(token) if isinstance(token, str) else token
    except SecretUnavailable:
        return token


def _objects(items: list[Any], old: dict[str, Any]) -> list[Any]:
    return [
        with_secrets_of(item, old.get(str(item.get("name")))) if isinstance(item, dict) else item
        for item in items
    ]


def _by_name(items: Any) -> dict[str, Any]:
    return {str(item["name"]): item for item in items}
