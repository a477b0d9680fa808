"""Targets: the configured places to send to. One settings model per protocol, told by ``type``.

A package of somebody else adds a protocol with two entry points of the same name, the protocol's:
one in ``crossdock.targets`` for the settings (a ``TargetBase``) and one in ``crossdock.adapters``
for the ``Adapter``. The two are in modules of their own, and that of the settings imports none of
``crossdock.protocols``: config-api needs no adapter. ``tests/contract/plugin/good`` is an example.
"""

import re
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args

import structlog
from pydantic import Field

from crossdock.config.targets.base import FileTarget, RemoteTarget, TargetBase
from crossdock.config.targets.dicom import DicomTarget, DicomTlsTarget, StorageScpTarget
from crossdock.config.targets.dicomweb import DicomwebTarget
from crossdock.config.targets.folder import FolderTarget
from crossdock.config.targets.rsync import RsyncTarget
from crossdock.config.targets.s3 import S3Target
from crossdock.config.targets.sftp import SftpTarget
from crossdock.config.targets.ssh import SshTarget
from crossdock.config.targets.xnat import XnatTarget


log = structlog.get_logger(__name__)

_NAME = re.compile(r"[a-z0-9][a-z0-9+._-]{0,31}")

BUILT_IN: tuple[type[TargetBase], ...] = (
    DicomTarget,
    DicomTlsTarget,
    DicomwebTarget,
    FolderTarget,
    RsyncTarget,
    S3Target,
    SftpTarget,
    XnatTarget,
)


def type_of(model: type[TargetBase]) -> str:
    """Return the ``type`` that settings of a model have."""
    values = get_args(model.model_fields["type"].annotation)
    return str(values[0])


def _plugged_in() -> list[type[TargetBase]]:
    """Return the settings of the protocols that other packages bring; a broken one is left out."""
    models = []
    taken = {type_of(model) for model in BUILT_IN}
    for entry in entry_points(group="crossdock.targets"):
        try:
            model = _plugged(entry, taken)
        except Exception as error:  # noqa: BLE001 — another's code must not stop the gateway
            log.error("plugin.unusable", protocol=entry.name, reason=str(error))
            continue
        taken.add(entry.name)
        models.append(model)
    return models


def _plugged(entry: EntryPoint, taken: set[str]) -> type[TargetBase]:
    model: Any = entry.load()
    if not issubclass(model, TargetBase) or type_of(model) != entry.name:
        raise TypeError(f"{entry.value} is no TargetBase of type {entry.name!r}")
    if entry.name in taken:
        raise TypeError(f"there is a protocol {entry.name!r} already")
    if not _NAME.fullmatch(entry.name):
        raise TypeError(
            "a protocol's name has 1 to 32 lower-case letters, digits and any of + . _ -"
        )
    model.model_json_schema()  # what the API cannot describe would cost all the others
    return model  # type: ignore[no-any-return]  # checked above


MODELS: dict[str, type[TargetBase]] = {
    type_of(model): model for model in (*BUILT_IN, *_plugged_in())
}
"""The settings of each protocol, by its name."""

if TYPE_CHECKING:
    Target = (
        DicomTarget
        | DicomTlsTarget
        | DicomwebTarget
        | FolderTarget
        | RsyncTarget
        | S3Target
        | SftpTarget
        | XnatTarget
    )
else:
    # Which protocols there are is known only now, so the union cannot be written with bars.
    Target = Annotated[Union[tuple(MODELS.values())], Field(discriminator="type")]  # noqa: UP007

__all__ = [
    "MODELS",
    "DicomTarget",
    "DicomTlsTarget",
    "DicomwebTarget",
    "FileTarget",
    "FolderTarget",
    "RemoteTarget",
    "RsyncTarget",
    "S3Target",
    "SftpTarget",
    "SshTarget",
    "StorageScpTarget",
    "Target",
    "TargetBase",
    "XnatTarget",
]
