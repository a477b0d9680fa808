"""How each target stands by its last check: as facts for others, and as metrics."""

import threading
from dataclasses import dataclass

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import publish
from crossdock.config import Gateway
from crossdock.errors import BusError
from crossdock.messages import CheckFinished, Message, TargetChanged
from tester.checks import fingerprint
from tester.metrics import CERTIFICATE_EXPIRY, SECONDS, UP


log = structlog.get_logger(__name__)

_DAY_SECONDS = 86_400


@dataclass(slots=True)
class _Target:
    """A configured target, and what its last check said; ``green`` is None before the first."""

    protocol: str
    settings: str
    green: bool | None = None
    at: float = 0.0


class Standing:
    """Knows how configured targets stand, from own checks and from those of other testers.

    Safe to use from several threads. What is said about settings that are not in force is passed
    on, and changes nothing here: the target is checked again at once.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._targets: dict[str, _Target] = {}

    def configure(self, gateway: Gateway) -> None:
        """Forget the targets that are gone or disabled, with their metrics."""
        wanted = {each.name: each for each in gateway.targets if each.enabled}
        with self._lock:
            for name, known in list(self._targets.items()):
                if name not in wanted or wanted[name].type != known.protocol:
                    del self._targets[name]
                    _remove_metrics(name, known.protocol)
            for name, target in wanted.items():
                settings = fingerprint(target)
                known = self._targets.setdefault(name, _Target(target.type, settings))
                if known.settings != settings:
                    known.settings = settings
                    CERTIFICATE_EXPIRY.remove(name, target.type)  # it may be another host's now

    def tell(self, finished: CheckFinished) -> None:
        """Tell everyone what a check of this tester found, and what has changed by it.

        The change goes first: should we die in between, nobody else takes it as told.
        """
        changed = self._take(finished)
        with self._lock:
            if finished.target in self._targets:
                SECONDS.labels(finished.target, finished.protocol).observe(finished.seconds)
        try:
            if changed is not None:
                publish(self._bus, changed)
                words = {"green": changed.green, "reason": changed.reason}
                log.info("target.changed", target=changed.target, **words)
            publish(self._bus, finished)
        except BusError as error:
            self._doubt(finished.target)
            log.warning("check.not_told", target=finished.target, reason=str(error))

    def heard(self, message: Message) -> None:
        """Take note of what a check found, whoever made it."""
        if isinstance(message, CheckFinished):
            self._take(message)

    def _take(self, finished: CheckFinished) -> TargetChanged | None:
        """Take note of a check; return what has changed by it, None if nothing has."""
        green = finished.report.green
        with self._lock:
            target = self._targets.get(finished.target)
            if target is None or target.settings != finished.settings or finished.at < target.at:
                return None
            changed = target.green is not green
            target.green, target.at = green, finished.at
            UP.labels(finished.target, target.protocol).set(green)
            days = finished.report.certificate_days
            if days is not None:
                expiry = finished.at + days * _DAY_SECONDS
                CERTIFICATE_EXPIRY.labels(finished.target, target.protocol).set(expiry)
        return _change(finished) if changed else None

    def _doubt(self, name: str) -> None:
        """Have the next check tell again how a target stands."""
        with self._lock:
            if name in self._targets:
                self._targets[name].green = None


def _change(finished: CheckFinished) -> TargetChanged:
    failure = finished.report.failure
    reason = "" if failure is None else f"{failure.name}: {failure.detail}"
    return TargetChanged(
        target=finished.target, green=finished.report.green, reason=reason, at=finished.at
    )


def _remove_metrics(name: str, protocol: str) -> None:
    for metric in (UP, CERTIFICATE_EXPIRY, SECONDS):
        metric.remove(name, protocol)
