"""One folder per protocol; the only code that speaks to targets."""

from collections.abc import Iterator, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any

import structlog

from crossdock.config.targets import MODELS, TargetBase
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.pace import Pace
from crossdock.protocols.base import Adapter, Outgoing, WindsDown
from crossdock.protocols.failures import fault


log = structlog.get_logger(__name__)

_GROUP = "crossdock.adapters"
_OURS = {
    "dicom": "dicom:DicomAdapter",
    "dicom+tls": "dicom:DicomAdapter",
    "dicomweb": "dicomweb:DicomwebAdapter",
    "folder": "folder:FolderAdapter",
    "rsync": "rsync:RsyncAdapter",
    "s3": "s3:S3Adapter",
    "sftp": "sftp:SftpAdapter",
    "xnat": "xnat:XnatAdapter",
}


class _Adapters(MutableMapping[str, type[Adapter]]):
    """Adapters by their protocols' names, in order.

    One of ours is loaded when it is first asked for: what they need takes seconds to load all
    together, and a gateway has targets of few protocols.
    """

    def __init__(self) -> None:
        self._found: dict[str, EntryPoint | type[Adapter]] = {
            name: EntryPoint(name, f"{__name__}.{where}", _GROUP) for name, where in _OURS.items()
        }

    def __getitem__(self, protocol: str) -> type[Adapter]:
        found = self._found[protocol]
        if isinstance(found, EntryPoint):
            loaded: type[Adapter] = found.load()
            self._found[protocol] = loaded
            return loaded
        return found

    def __setitem__(self, protocol: str, adapter: type[Adapter]) -> None:
        self._found[protocol] = adapter

    def __delitem__(self, protocol: str) -> None:
        del self._found[protocol]

    def __contains__(self, protocol: object) -> bool:
        return protocol in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._found))

    def __len__(self) -> int:
        return len(self._found)


def _adapters() -> _Adapters:
    """Return our adapters, and those that other packages bring; a broken one is left out."""
    adapters = _Adapters()
    for entry in entry_points(group=_GROUP):
        try:
            adapters[entry.name] = _plugged(entry, adapters)
        except Exception as error:  # noqa: BLE001 — another's code must not stop the gateway
            log.error("plugin.unusable", protocol=entry.name, reason=str(error))
    return adapters


def _plugged(entry: EntryPoint, taken: _Adapters) -> type[Adapter]:
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


def adapter_for(target: TargetBase, pace: Pace | None = None) -> Adapter:
    """Return the adapter that speaks the target's protocol.

    Adapters that share the target's bandwidth are given the same ``pace``; without one it has its own.

    Raises:
        DeliveryError: there is none here, or it cannot be made.
    """
    if target.type not in ADAPTERS:
        words = f"no adapter for {target.type} is installed here; the log says why at the start"
        raise DeliveryError(ErrorKind.MISCONFIGURED, words, temporary=False)
    try:
        adapter = ADAPTERS[target.type](target)  # type: ignore[call-arg]  # each takes its own settings
    except Exception as error:
        raise fault(error) from error
    adapter.pace = pace or Pace(target.bytes_per_second)
    return adapter


__all__ = ["ADAPTERS", "Adapter", "Outgoing", "WindsDown", "adapter_for"]
