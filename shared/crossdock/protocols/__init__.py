"""One file per protocol; the only code that speaks to targets."""

from importlib.metadata import entry_points
from typing import Any

import structlog

from crossdock.config.targets import MODELS, TargetBase
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.dicom import DicomAdapter
from crossdock.protocols.folder import FolderAdapter
from crossdock.protocols.rsync import RsyncAdapter
from crossdock.protocols.sftp import SftpAdapter


log = structlog.get_logger(__name__)


def _adapters() -> dict[str, type[Any]]:
    """Return the adapter of each protocol by its name: ours, and those that other packages bring."""
    adapters: dict[str, type[Any]] = {
        "dicom": DicomAdapter,
        "folder": FolderAdapter,
        "rsync": RsyncAdapter,
        "sftp": SftpAdapter,
    }
    for entry in entry_points(group="crossdock.adapters"):
        if entry.name in adapters or entry.name not in MODELS:
            log.error("plugin.unusable", protocol=entry.name, reason="no settings of this name")
            continue
        try:
            adapters[entry.name] = entry.load()
        except Exception as error:  # noqa: BLE001 — another's code must not stop the gateway
            log.error("plugin.unusable", protocol=entry.name, reason=str(error))
    return adapters


ADAPTERS = _adapters()
"""The adapter of each protocol, by its name."""


def adapter_for(target: TargetBase) -> Adapter:
    """Return the adapter that speaks the target's protocol."""
    adapter: Adapter = ADAPTERS[target.type](target)
    return adapter


__all__ = ["ADAPTERS", "Adapter", "Outgoing", "adapter_for"]
