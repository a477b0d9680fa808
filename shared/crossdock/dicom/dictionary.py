"""The data dictionary and the registered UIDs (PS3.6 6 and A), which are pydicom's tables.

pydicom itself is for whoever decodes datasets. With the codecs installed it takes a second and 60 MB
to load, which no service should pay to know a keyword, so the tables are loaded without it.
"""

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple


class Attribute(NamedTuple):
    """An attribute of PS3.6: its tag, as group and element in one number, and its usual VR."""

    tag: int
    vr: str


@cache
def attributes() -> dict[str, Attribute]:
    """Return all attributes by their keywords; those of repeating groups have none."""
    table: dict[int, tuple[str, ...]] = _table("_dicom_dict", "DicomDictionary")
    return {entry[4]: Attribute(tag, entry[0][:2]) for tag, entry in table.items() if entry[4]}


def name_of_uid(uid: str) -> str:
    """Return a registered UID's name, and any other UID as it is."""
    return _registered(uid)[0] or uid


def type_of_uid(uid: str) -> str:
    """Return what a UID is registered as, such as ``SOP Class``; empty for one that is not."""
    return _registered(uid)[1]


class Registered(NamedTuple):
    """A UID of PS3.6 A: what it names, as what it is registered, and whether it is retired."""

    uid: str
    name: str
    type: str
    retired: bool


def registered(type_: str) -> list[Registered]:
    """Return all UIDs that are registered as one type, in the order of PS3.6."""
    return [
        Registered(uid, entry[0], entry[1], entry[3] == "Retired")
        for uid, entry in _uids().items()
        if entry[1] == type_
    ]


def _registered(uid: str) -> tuple[str, ...]:
    return _uids().get(uid, ("", ""))


@cache
def _uids() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = _table("_uid_dict", "UID_dictionary")
    return table


def _table(module: str, name: str) -> Any:
    package = find_spec("pydicom")
    assert package is not None  # noqa: S101 — a requirement of ours
    assert package.origin is not None  # noqa: S101 — as above
    path = Path(package.origin).with_name(f"{module}.py")
    spec = spec_from_file_location(f"{__name__}.{module}", path)
    assert spec is not None  # noqa: S101 — a path is given
    assert spec.loader is not None  # noqa: S101 — as above
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, name)
