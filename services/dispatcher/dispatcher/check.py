"""One check from where the sending happens: firewalls, mounts and files are a machine's own."""

from collections.abc import Collection
from dataclasses import dataclass

from crossdock.bus import connect
from crossdock.config import Gateway
from crossdock.config.client import fetch, read_copy
from crossdock.config.snapshot import usable_gateway
from crossdock.errors import BusError, CrossdockError
from crossdock.messages import ConfigPublished
from crossdock.model import CheckReport
from crossdock.protocols import adapter_for
from crossdock.settings import Settings
from crossdock.telemetry import configure_logging


class CannotCheck(CrossdockError):  # noqa: N818 — reads as what happened
    """There is nothing here to check; the text says why."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, by which revision, and whether that was only this dispatcher's copy of it."""

    report: CheckReport
    revision: int
    from_copy: bool


def check(settings: Settings, protocols: Collection[str], name: str) -> Checked:
    """Check a target as a dispatcher of some protocols would send to it from here.

    Raises:
        CannotCheck: there is no configuration, no such target, or others serve it.
    """
    configure_logging("error", "dispatcher")  # what matters is in the answer
    published, from_copy = _configuration(settings)
    gateway: Gateway = usable_gateway(published.document or {})
    target = gateway.target(name)
    if target is None:
        raise CannotCheck(f"there is no target {name!r} in revision {published.revision}")
    if target.type not in protocols:
        raise CannotCheck(f"target {name!r} is served by dispatchers of protocol {target.type}")
    with adapter_for(target) as adapter:
        return Checked(adapter.check(), published.revision, from_copy)


def _configuration(settings: Settings) -> tuple[ConfigPublished, bool]:
    """Return the configuration in force, or else the copy that the dispatcher here works by."""
    try:
        with connect(settings.broker, name="dispatcher-check") as bus:
            published = fetch(bus, "dispatcher")
    except BusError:
        published = None
    if published is not None:
        return published, False
    copy = read_copy(settings.data / "config" / "dispatcher.json")
    if copy is None:
        raise CannotCheck("no configuration: config-api does not answer, and there is no copy here")
    return copy, True
