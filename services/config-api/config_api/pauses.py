"""Pauses of targets: a person's decision, which a document that does not mention it leaves alone.

``gateway.yaml`` says how targets are meant to be, a pause that somebody stopped one for now. So a
whole configuration, or a target put anew, keeps the pause of a target of the same name unless it
has the field ``paused`` itself; an empty text resumes.
"""

from typing import Any

from config_api.changes import Document


def with_pauses(document: Any, old: Document) -> Any:
    """Return a whole configuration with the pauses of ``old`` where it does not mention them."""
    if not isinstance(document, dict) or not isinstance(document.get("targets"), list):
        return document
    before = {str(item["name"]): item for item in old.get("targets", ())}
    targets = [
        {**pause_of(before.get(str(item.get("name")))), **item} if isinstance(item, dict) else item
        for item in document["targets"]
    ]
    return {**document, "targets": targets}


def pause_of(old: Document | None) -> Document:
    """Return the pause of a target as its document has it; nothing where it is not paused."""
    return {"paused": old["paused"]} if old and old.get("paused") else {}


def paused(document: Document, name: str, reason: str) -> Document:
    """Return a configuration with one of its targets paused, or resumed if ``reason`` is empty."""
    targets = [
        {**item, "paused": reason} if item["name"] == name else item
        for item in document.get("targets", ())
    ]
    return {**document, "targets": targets}
