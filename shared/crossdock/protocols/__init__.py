"""One folder per protocol; the only code that speaks to targets."""

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any

import structlog

from crossdock.config.targets import MODELS, TargetBase
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.dicom import DicomAdapter
from crossdock.protocols.dicomweb import DicomwebAdapter
from crossdock.protocols.folder import FolderAdapter
from crossdock.protocols.rsync import RsyncAdapter
from crossdock.protocols.s3 import S3Adapter
from crossdock.protocols.sftp import SftpAdapter
from crossdock.protocols.xnat import XnatAdapter
from crossdock.telemetry import raised_at


log = structlog.get_logger(__name__)


def _adapters() -> dict[str, type[Adapter]]:
    """Return the adapter of each protocol by its name: ours, and those that other packages bring."""
    adapters: dict[str, type[Any]] = {
        "dicom": DicomAdapter,
        "dicom+tls": DicomAdapter,
        "dicomweb": DicomwebAdapter,
        "folder": FolderAdapter,
        "rsync": RsyncAdapter,
        "s3": S3Adapter,
        "sftp": SftpAdapter,
        "xnat": XnatAdapter,
    }
    for entry in entry_points(group="crossdock.adapters"):
        try:
            adapters[entry.name] = _plugged(entry, adapters)
        except Exception as error:  # noqa: BLE001 — another's code must not stop the gateway
            log.error("plugin.unusable", protocol=entry.name, reason=str(error))
    return dict(sorted(adapters.items()))


def _plugged(entry: EntryPoint, taken: Collection[str]) -> type[Adapter]:
    if entry.name in taken:
        raise TypeError(f"there is a protocol {entry.name!r} already")
    if entry.name not in MODELS:
        raise TypeError(f"no settings named {entry.name!r} in crossdock.targets")
    adapter: Any = entry.load()
    if not issubclass(adapter, Adapter) or isabstract(adapter):
        raise TypeError(f"{entry.value} is no Adapter with check and send")
    return adapter  # type: ignore[no-any-return]  # checked above


ADAPTERS = _adapters()
"""The adapter of each protocol, by its name."""


def adapter_for(target: TargetBase) -> Adapter:
    """Return the adapter that speaks the target's protocol.

    Raises:
        DeliveryError: there is none here, or a plug-in's cannot be made.
    """
    if target.type not in ADAPTERS:
        words = f"no adapter for {target.type} is installed here; the log says why at the start"
        raise DeliveryError(ErrorKind.MISCONFIGURED, words, temporary=False)
    try:
        return ADAPTERS[target.type](target)  # type: ignore[call-arg]  # each takes its own settings
    except Exception as error:
        log.error("adapter.fault", error=type(error).__name__, at=raised_at(error))
        words = f"a fault in the adapter: {type(error).__name__}"
        raise DeliveryError(ErrorKind.UNEXPECTED, words, temporary=False) from error


__all__ = ["ADAPTERS", "Adapter", "Outgoing", "adapter_for"]
