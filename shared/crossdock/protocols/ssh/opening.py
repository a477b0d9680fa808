"""Opening a connection in the steps that a check shows."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from crossdock.config.targets.ssh import SshTarget
from crossdock.errors import DeliveryError
from crossdock.protocols import network
from crossdock.protocols.ssh.failures import SshFailed
from crossdock.protocols.stages import Stage, StageFailed


T = TypeVar("T")


class Opening(Protocol):
    """A connection that is opened step by step; each returns what it found or raises SshFailed."""

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
        ("connect", explained(opening.connect)),
        ("host key", explained(opening.verify)),
        ("authenticate", explained(opening.authenticate)),
    )


def explained(call: Callable[[], T]) -> Callable[[], T]:
    """Return a stage of a check that says as found and advice why a connection failed."""

    def run() -> T:
        try:
            return call()
        except SshFailed as failed:
            raise StageFailed(failed.found, failed.advice) from failed
        except DeliveryError as error:
            found, _, advice = error.detail.partition("; ")
            raise StageFailed(found, advice or "look at the server's log") from error

    return run


def set_before(value: T | None) -> T:
    """Return what an earlier step of opening has set; the steps come in order."""
    if value is None:
        raise RuntimeError("a step of opening the connection was left out")
    return value
