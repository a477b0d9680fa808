"""What a server says became of each instance: the Store Instances Response (PS3.18 10.5.3, I.2).

Servers answer in DICOM JSON (PS3.18 F) if they can, otherwise in the Native DICOM Model (PS3.19 A.1).
What they say is from the network: nothing here trusts its shape, size is bounded by the caller.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat


_FAILED = "00081198"
_REFERENCED = "00081199"
_SOP_INSTANCE_UID = "00081155"
_FAILURE_REASON = "00081197"
_WARNING_REASON = "00081196"
_DEEPEST = 16  # levels of XML: a report has 5


@dataclass(slots=True)
class Report:
    """The instances that were stored, and those that were not, by SOP Instance UID.

    The numbers are the WarningReason, 0 for none, and the FailureReason, None if it is not given.
    """

    stored: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int | None] = field(default_factory=dict)


def read_report(body: bytes | None) -> Report:
    """Return what a body says, which is nothing if it is no report."""
    report = Report()
    for dataset in _datasets(body or b""):
        for item in _items(dataset, _REFERENCED):
            report.stored[_uid(item)] = _number(item, _WARNING_REASON) or 0
        for item in _items(dataset, _FAILED):
            report.failed[_uid(item)] = _number(item, _FAILURE_REASON)
    for uids in (report.stored, report.failed):
        uids.pop("", None)  # an item without a UID says nothing
    for uid in report.failed:
        report.stored.pop(uid, None)
    return report


def names_instance(body: bytes | None, uid: str) -> bool:
    """Whether an answer to a query has an instance with this UID (PS3.18 10.6.3.3)."""
    return any(_first(dataset, "00080018") == uid for dataset in _datasets(body or b""))


def _datasets(body: bytes) -> list[Any]:
    """Return the datasets of a body; some servers make a list of one."""
    try:
        if body.lstrip()[:1] == b"<":
            return [_from_xml(body)]
        found = json.loads(body)
    except (ValueError, RecursionError, expat.ExpatError):
        return []
    return found if isinstance(found, list) else [found]


def _items(dataset: Any, tag: str) -> Iterator[Any]:
    yield from (item for item in _values(dataset, tag) if isinstance(item, dict))


def _values(dataset: Any, tag: str) -> list[Any]:
    element = dataset.get(tag) if isinstance(dataset, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _first(dataset: Any, tag: str) -> Any:
    return next(iter(_values(dataset, tag)), None)


def _uid(item: Any) -> str:
    uid = _first(item, _SOP_INSTANCE_UID)
    return uid.strip(" \0\r\n\t") if isinstance(uid, str) else ""


def _number(item: Any, tag: str) -> int | None:
    """Return a US of an item; some servers write numbers as text."""
    value = _first(item, tag)
    try:
        number = int(value) if isinstance(value, int | str) else -1
    except ValueError:
        return None
    return number if 0 <= number <= 0xFFFF else None  # noqa: PLR2004 — PS3.5 6.2: US


def _from_xml(body: bytes) -> dict[str, Any]:
    """Return a Native DICOM Model in the form of DICOM JSON.

    A document type is refused, so that there are no entities to blow up or to fetch.

    Raises:
        ValueError: there is one, or it is nested too deeply.
        ExpatError: it is no XML.
    """
    reader = _XmlReader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.Parse(body, True)
    return reader.root


class _XmlReader:
    """Hears of the parts of a document, and makes datasets of them."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._open: list[Any] = [self.root]  # a dataset, its element's values, an item, …

    def doctype(self, *_declared: Any) -> None:
        raise ValueError("a document type is not welcome")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > _DEEPEST:
            raise ValueError("nested too deeply")
        inner: Any = self._open[-1]
        match name.rpartition(" ")[2]:
            case "DicomAttribute" if isinstance(self._open[-1], dict):
                inner = []
                self._open[-1][attributes.get("tag", "")] = {"Value": inner}
            case "Item" if isinstance(self._open[-1], list):
                inner = {}
                self._open[-1].append(inner)
            case "Value" if isinstance(self._open[-1], list):
                self._open[-1].append("")
        self._open.append(inner)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        values = self._open[-1]
        if isinstance(values, list) and values and isinstance(values[-1], str):
            values[-1] += data
