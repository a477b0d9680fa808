"""Checks every target by the clock, each in a thread of its own."""

import threading
import time

import structlog

from crossdock.config import Gateway
from crossdock.config.targets import Target
from crossdock.messages import CheckFinished, Message
from tester.checks import AT_ONCE, Checks, TooManyHang
from tester.on_demand import Tell
from tester.schedule import Schedule


log = structlog.get_logger(__name__)


class Clock:
    """Has targets checked when they are due, and tells ``tell`` what was found."""

    def __init__(self, checks: Checks, tell: Tell, at_once: int = AT_ONCE) -> None:
        self._checks = checks
        self._tell = tell
        self._at_once = at_once
        self._schedule = Schedule()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def start(self) -> None:
        """Begin; nothing is due before the first configuration."""
        self._thread.start()

    def configure(self, gateway: Gateway) -> None:
        """Check the targets of ``gateway`` from now on."""
        with self._lock:
            self._schedule.configure(gateway.targets, time.monotonic())
        self._wake.set()

    def heard(self, message: Message) -> None:
        """Take note of a check that somebody made, so that it is not made again so soon."""
        if isinstance(message, CheckFinished):
            with self._lock:
                self._schedule.checked(message.target, message.settings, time.monotonic())
            self._wake.set()

    def close(self) -> None:
        """Begin no further check; those under way are left to themselves."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            now = time.monotonic()
            with self._lock:
                due = self._schedule.take(now, self._at_once)
                following = self._schedule.next(self._at_once)
            for target in due:
                name = f"clock {target.name}"
                threading.Thread(target=self._check, args=(target,), name=name, daemon=True).start()
            self._wake.wait(None if following is None else max(0.0, following - now))

    def _check(self, target: Target) -> None:
        try:
            self._tell(self._checks.run(target))
        except TooManyHang as error:
            log.warning("check.postponed", target=target.name, reason=str(error))
        finally:
            with self._lock:
                self._schedule.finished(target, time.monotonic())
            self._wake.set()
