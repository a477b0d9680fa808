"""Answers those who ask for a check now."""

import time
from collections.abc import Callable
from typing import cast

from crossdock.config.snapshot import parse_object
from crossdock.config.targets import Target
from crossdock.errors import ConfigError
from crossdock.messages import CheckFinished, CheckRequested, Message
from crossdock.model import CheckReport
from tester.checks import Checks, TooManyHang, failed


Tell = Callable[[CheckFinished], None]


class OnDemand:
    """Responds to ``check.requested``; what is found about saved settings is told to ``tell``."""

    def __init__(self, checks: Checks, tell: Tell) -> None:
        self._checks = checks
        self._tell = tell

    def respond(self, question: Message) -> CheckFinished:
        """Return the report on a target.

        Raises:
            TypeError: the message is no request for a check.
        """
        if not isinstance(question, CheckRequested):
            raise TypeError(f"{question.type} is no request for a check")
        try:
            target = cast("Target", parse_object("targets", question.target))
        except ConfigError as error:
            return _nothing("", failed("settings", str(error), "Correct the settings."))
        try:
            finished = self._checks.run(target)
        except TooManyHang as error:
            advice = "Try again when the targets have let go."
            return _nothing(target.name, failed("start", str(error), advice))
        if question.saved:
            self._tell(finished)
        return finished


def _nothing(target: str, report: CheckReport) -> CheckFinished:
    return CheckFinished(target=target, report=report, at=time.time())
