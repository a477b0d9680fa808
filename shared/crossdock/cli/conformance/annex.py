"""Lists: storage SOP classes, transfer syntaxes, parameters."""

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from crossdock.cli.conformance.text import joined, table
from crossdock.config import StoreNode
from crossdock.config.store_nodes import NodeCommitment, Source
from crossdock.config.targets import DicomTarget, DicomwebTarget
from crossdock.config.targets.dicom import TargetCommitment
from crossdock.config.tls import NodeTls, TargetTls
from crossdock.dicom.dictionary import registered
from crossdock.dicom.uids import TRANSFER_SYNTAXES, is_storage


_MODELS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("a store node", StoreNode),
    ("a source of a store node", Source),
    ("`tls` of a store node", NodeTls),
    ("`commitment` of a store node", NodeCommitment),
    ("a target of type `dicom` or `dicom+tls`", DicomTarget),
    ("`commitment` of a target", TargetCommitment),
    ("`tls` of a target", TargetTls),
    ("a target of type `dicomweb`", DicomwebTarget),
)


def section() -> str:
    """Return the annexes."""
    return joined(
        "## A Storage SOP classes",
        "Accepted and sent, in the order of PS3.6 A. **Any UID that is not registered there is accepted and sent as well.**",
        table(("name", "UID"), _sop_classes()),
        "## B Transfer syntaxes",
        (
            "Accepted and sent for all of them, as is **any UID that is not registered**. The name in configurations is for `transfer_syntaxes` "
            "and `convert_to`; the others go by their UIDs."
        ),
        table(("name", "UID", "name in configurations"), _transfer_syntaxes()),
        "## C Parameters",
        *(f"### Of {name}\n\n{_parameters(model)}" for name, model in _MODELS),
        _NONE,
    )


_NONE = """
## D What PS3.2 asks for besides

SOP instances created: none. Private attributes, SOP classes and transfer syntaxes of our own: none. Coded terminology, greyscale display: none. Attributes that rules may ask for: all of PS3.6 with a text or number as
their value, at the top level of a dataset.
"""


def _sop_classes() -> Iterator[tuple[str, str]]:
    for uid, name, _, retired in registered("SOP Class"):
        if is_storage(uid):
            yield f"{name}{' (retired)' if retired else ''}", uid


def _transfer_syntaxes() -> Iterator[tuple[str, str, str]]:
    names = {uid: f"`{name}`" for name, uid in TRANSFER_SYNTAXES.items()}
    for uid, name, _, retired in registered("Transfer Syntax"):
        yield f"{name}{' (retired)' if retired else ''}", uid, names.get(uid, "")


def _parameters(model: type[BaseModel]) -> str:
    fields = (
        (f"`{name}`", _default(each), each.description or "")
        for name, each in model.model_fields.items()
    )
    return table(("parameter", "default", ""), fields)


def _default(field: FieldInfo) -> str:
    value = (
        field.get_default(call_default_factory=True, validated_data={})
        if not field.is_required()
        else ...
    )
    if value is ...:
        return "needed"
    if isinstance(value, BaseModel):
        return "`{}`"
    if value is None or value in ((), "", {}):
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
