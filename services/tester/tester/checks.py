"""Checks targets on demand, each within a deadline whatever the target does."""

import threading
import time
from queue import Empty, SimpleQueue
from typing import cast

import structlog
from prometheus_client import Counter

from crossdock.config.snapshot import parse_object
from crossdock.config.targets import Target
from crossdock.errors import ConfigError, DeliveryError
from crossdock.messages import CheckFinished, CheckRequested, Message
from crossdock.model import CheckReport, CheckStage
from crossdock.protocols import adapter_for
from crossdock.telemetry import raised_at


log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 25.0  # who asks waits 30
AT_ONCE = 8
_THREADS = 32  # with those that a hanging target has not let go yet

_CHECKS = Counter("crossdock_checks_total", "Checks of targets.", ["protocol", "result"])


class Checks:
    """Answers ``check.requested``. Safe to use from several threads.

    A check that hangs is reported as failed at the deadline; its thread ends when the target lets
    go, and there are never more than a fixed number of such threads.
    """

    def __init__(self, deadline: float = DEADLINE_SECONDS, threads: int = _THREADS) -> None:
        self._deadline = deadline
        self._free = threading.BoundedSemaphore(threads)

    def respond(self, question: Message) -> CheckFinished:
        """Return the report on a target.

        Raises:
            TypeError: the message is no request for a check.
        """
        if not isinstance(question, CheckRequested):
            raise TypeError(f"{question.type} is no request for a check")
        began = time.monotonic()
        try:
            target = cast("Target", parse_object("targets", question.target))
        except ConfigError as error:
            return _finished("", _failed("settings", str(error), "Correct the settings."))
        report = self._check(target)
        result = "green" if report.green else "red"
        _CHECKS.labels(target.type, result).inc()
        log.info(
            "check.finished",
            target=target.name,
            result=result,
            seconds=round(time.monotonic() - began, 3),
        )
        return _finished(target.name, report)

    def _check(self, target: Target) -> CheckReport:
        if not self._free.acquire(blocking=False):
            return _failed(
                "start", "too many checks hang", "Try again when the targets have let go."
            )
        reports: SimpleQueue[CheckReport] = SimpleQueue()

        def run() -> None:
            try:
                reports.put(_report(target))
            finally:
                self._free.release()

        threading.Thread(target=run, name=f"check {target.name}", daemon=True).start()
        try:
            return reports.get(timeout=self._deadline)
        except Empty:
            return _failed(
                "timeout",
                f"no result within {self._deadline:g} s",
                "Something on the way swallows packets, or the target hangs: look at the "
                "firewall and at the target.",
            )


def _report(target: Target) -> CheckReport:
    try:
        with adapter_for(target) as adapter:
            return adapter.check()
    except DeliveryError as error:
        return _failed("adapter", error.detail, "Install what brings this protocol, or mend it.")
    except Exception as error:  # noqa: BLE001 — outermost: whoever asked gets an answer
        log.error(
            "check.failed",
            target=target.name,
            protocol=target.type,
            error=type(error).__qualname__,
            where=raised_at(error),
        )
        return _failed("check", "Crossdock failed; its log says why", "Report this as a bug.")


def _failed(stage: str, detail: str, advice: str) -> CheckReport:
    return CheckReport(
        stages=(CheckStage(name=stage, state="failed", detail=detail, advice=advice),)
    )


def _finished(target: str, report: CheckReport) -> CheckFinished:
    return CheckFinished(target=target, report=report, at=time.time())
