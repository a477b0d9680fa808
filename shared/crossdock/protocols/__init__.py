"""One file per protocol; the only code that speaks to targets."""

from typing import Any

from crossdock.config.targets import Target
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.dicom import DicomAdapter
from crossdock.protocols.folder import FolderAdapter


ADAPTERS: dict[str, type[Any]] = {
    "dicom": DicomAdapter,
    "folder": FolderAdapter,
}


def adapter_for(target: Target) -> Adapter:
    """Return the adapter that speaks the target's protocol."""
    adapter: Adapter = ADAPTERS[target.type](target)
    return adapter


__all__ = ["ADAPTERS", "Adapter", "Outgoing", "adapter_for"]
