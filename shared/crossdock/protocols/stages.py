"""The stages of a check: run in order until one fails, each timed and put into words."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crossdock.errors import DeliveryError
from crossdock.model import CheckReport, CheckStage
from crossdock.protocols.failures import InstanceRefused, TargetFailed


T = TypeVar("T")

_LOG = "look at the target's log"


class StageFailed(Exception):  # noqa: N818 — reads as what happened
    """Raised by a stage: ``detail`` says what was found, ``advice`` what to do about it."""

    def __init__(self, detail: str, advice: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.advice = advice


class StageSkipped(Exception):  # noqa: N818 — reads as what happened
    """Raised by a stage that says nothing for or against the target here, and why."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a stage found, in words and, where it saw the peer's certificate, for machines."""

    detail: str
    certificate_days: int | None = None


Stage = tuple[str, Callable[[], str | Found]]
"""A name, and what to do: it returns what was found, or raises ``StageFailed`` or ``StageSkipped``.

What a delivery raises where a target or an instance is the problem is a failed stage, too.
"""


def explained(call: Callable[[], T], before: str = "") -> T:
    """Call, and turn what is wrong with a target into a failed stage; ``before`` begins its words.

    Raises:
        StageFailed: with what was found, and what to do.
    """
    try:
        return call()
    except TargetFailed as error:
        raise StageFailed(before + error.found, error.advice) from error
    except DeliveryError as error:
        raise StageFailed(before + error.detail, _LOG) from error
    except InstanceRefused as error:
        raise StageFailed(f"{before}{error.detail} ({error.status})", _LOG) from error


def run_stages(stages: Sequence[Stage]) -> CheckReport:
    """Run the stages in order; those after the first that fails are skipped."""
    report: list[CheckStage] = []
    for name, run in stages:
        if any(stage.state == "failed" for stage in report):
            report.append(CheckStage(name=name, state="skipped"))
        else:
            report.append(_run(name, run))
    return CheckReport(stages=tuple(report))


def _run(name: str, run: Callable[[], str | Found]) -> CheckStage:
    started = time.perf_counter()
    stage = _judged(name, run)
    spent = round((time.perf_counter() - started) * 1000, 3)
    return stage.model_copy(update={"milliseconds": spent})


def _judged(name: str, run: Callable[[], str | Found]) -> CheckStage:
    try:
        found = explained(run)
    except StageSkipped as skipped:
        return CheckStage(name=name, state="skipped", detail=str(skipped))
    except StageFailed as failed:
        return CheckStage(name=name, state="failed", detail=failed.detail, advice=failed.advice)
    if isinstance(found, str):
        found = Found(found)
    days = found.certificate_days
    return CheckStage(name=name, state="ok", detail=found.detail, certificate_days=days)
