"""Makes checks, each within a deadline whatever the target does."""

import hashlib
import json
import threading
import time
from concurrent.futures import Future

import structlog
from prometheus_client import Counter

from crossdock.config.targets import Target
from crossdock.errors import CrossdockError, DeliveryError
from crossdock.messages import CheckFinished
from crossdock.model import CheckReport, CheckStage
from crossdock.protocols import adapter_for
from crossdock.telemetry import raised_at


log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 25.0  # who asks waits 30
AT_ONCE = 8
_THREADS = 32  # with those that a hanging target has not let go yet

_CHECKS = Counter("crossdock_checks_total", "Checks of targets.", ["protocol", "result"])


class TooManyHang(CrossdockError):  # noqa: N818 — reads as what happened
    """Every thread is with a target that hangs; this one was not checked."""


class Checks:
    """Makes checks. Safe to use from several threads.

    A check that hangs is reported as failed at the deadline; its thread ends when the target lets
    go. Until then nobody starts another one of the same settings: who asks for it joins the one
    under way. So a target that hangs costs one thread, and there is never more than a fixed number.
    """

    def __init__(self, deadline: float = DEADLINE_SECONDS, threads: int = _THREADS) -> None:
        self._deadline = deadline
        self._free = threading.BoundedSemaphore(threads)
        self._lock = threading.Lock()
        self._running: dict[str, Future[CheckReport]] = {}

    def run(self, target: Target) -> CheckFinished:
        """Return the report on a target.

        Raises:
            TooManyHang: there is no thread left to check it in.
        """
        began = time.monotonic()
        settings = fingerprint(target)
        try:
            report = self._under_way(target, settings).result(self._deadline)
        except TimeoutError:
            report = hung(self._deadline)
        result = "green" if report.green else "red"
        seconds = round(time.monotonic() - began, 3)
        _CHECKS.labels(target.type, result).inc()
        log.info("check.finished", target=target.name, result=result, seconds=seconds)
        return CheckFinished(
            target=target.name,
            report=report,
            at=time.time(),
            protocol=target.type,
            settings=settings,
            seconds=seconds,
        )

    def _under_way(self, target: Target, settings: str) -> Future[CheckReport]:
        """Return the check of these settings that runs, begun now if none does."""
        with self._lock:
            running = self._running.get(settings)
            if running is None:
                if not self._free.acquire(blocking=False):
                    raise TooManyHang("too many checks hang")
                running = self._running[settings] = Future()
                arguments = (target, settings, running)
                name = f"check {target.name}"
                threading.Thread(target=self._make, args=arguments, name=name, daemon=True).start()
            return running

    def _make(self, target: Target, settings: str, running: Future[CheckReport]) -> None:
        try:
            report = _report(target)
        finally:
            with self._lock:
                del self._running[settings]
            self._free.release()
        running.set_result(report)


def fingerprint(target: Target) -> str:
    """Return what settings can be told apart by; it says nothing of them."""
    document = json.dumps(target.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:32]


def failed(stage: str, detail: str, advice: str) -> CheckReport:
    """Return the report of a check that came to nothing."""
    return CheckReport(
        stages=(CheckStage(name=stage, state="failed", detail=detail, advice=advice),)
    )


def hung(seconds: float) -> CheckReport:
    """Return the report of a check that did not end in time."""
    return failed(
        "timeout",
        f"no result within {seconds:g} s",
        "Something on the way swallows packets, or the target hangs: look at the firewall and at "
        "the target.",
    )


def _report(target: Target) -> CheckReport:
    try:
        with adapter_for(target) as adapter:
            return adapter.check()
    except DeliveryError as error:
        return failed("adapter", error.detail, "Install what brings this protocol, or mend it.")
    except Exception as error:  # noqa: BLE001 — outermost: whoever asked gets an answer
        log.error(
            "check.failed",
            target=target.name,
            protocol=target.type,
            error=type(error).__qualname__,
            where=raised_at(error),
        )
        return failed("check", "Crossdock failed; its log says why", "Report this as a bug.")
