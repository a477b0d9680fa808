"""Opening a connection in the steps that a check shows."""

from functools import partial
from typing import Protocol, TypeVar

from crossdock.config.targets.ssh import SshTarget
from crossdock.protocols import network
from crossdock.protocols.stages import Stage


T = TypeVar("T")


class Opening(Protocol):
    """A connection that is opened step by step; each returns what it found or raises TargetFailed."""

    def connect(self) -> str:
        """Reach the server."""

    def verify(self) -> str:
        """Find out that it is the right one."""

    def authenticate(self) -> str:
        """Log in."""


def opening_stages(target: SshTarget, opening: Opening) -> tuple[Stage, ...]:
    """Return the first stages of a check: resolve, ping, connect, host key, authenticate."""
    return (
        ("resolve", partial(network.resolve, target.host, target.port)),
        ("ping", partial(network.ping, target.host, target.port)),
        ("connect", opening.connect),
        ("host key", opening.verify),
        ("authenticate", opening.authenticate),
    )


def set_before(value: T | None) -> T:
    """Return what an earlier step of opening has set; the steps come in order."""
    if value is None:
        raise RuntimeError("a step of opening the connection was left out")
    return value
