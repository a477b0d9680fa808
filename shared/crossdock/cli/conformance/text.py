"""How the statement is written: tables, numbers and UIDs."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from crossdock.dicom.dictionary import name_of_uid, type_of_uid


def joined(*parts: str) -> str:
    """Return paragraphs with one empty line between them."""
    return "\n\n".join(part.strip("\n") for part in parts)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def named(uid: str) -> str:
    """Return a UID with its name of PS3.6, if it has one."""
    return f"{name_of_uid(uid)} ({uid})" if type_of_uid(uid) else uid


def default(function: Callable[..., object], parameter: str) -> Any:
    """Return what a parameter of a function is if a caller does not say."""
    return inspect.signature(function).parameters[parameter].default


def setting(model: type[BaseModel], field: str) -> Any:
    """Return the default of a field of the configuration."""
    return model.model_fields[field].default


def limits(model: type[BaseModel], field: str) -> str:
    """Return between what a number of the configuration may be: ``1 to 64``."""
    bounds = model.model_fields[field].metadata
    low = next((each.ge for each in bounds if hasattr(each, "ge")), None)
    high = next((each.le for each in bounds if hasattr(each, "le")), None)
    return f"{low} to {high}"


def seconds(value: float) -> str:
    """Return a time for people: ``30 s``, ``2 min``, ``1 h``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:g} s"
