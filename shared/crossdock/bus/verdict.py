"""What is to become of a letter once its handler has had it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from crossdock.bus.base import Handler, Responder, Retry
from crossdock.bus.letter import Letter
from crossdock.errors import BusError, MessageError
from crossdock.messages import Message, decode
from crossdock.telemetry import raised_at


MAX_FAILURES = 8
MAX_DELAY = 300.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """It has been dealt with."""


@dataclass(frozen=True, slots=True)
class Again:
    """It is to be handed out again after ``delay`` seconds; ``failed`` counts against it."""

    delay: float
    failed: bool


@dataclass(frozen=True, slots=True)
class Dead:
    """Nobody can deal with it; ``reason`` says why, without quoting it."""

    reason: str


Verdict = Done | Again | Dead
Judge = Callable[[Letter], Verdict]
Reply = Callable[[str, Letter], None]


def handling(queue: str, handler: Handler, first_delay: float) -> Judge:
    """Return the judge of a consumed queue: failures come again, growing from ``first_delay``."""

    def judge(letter: Letter) -> Verdict:
        try:
            message = decode(letter.body)
        except MessageError as error:
            log.error("message.undecodable", queue=queue, reason=str(error))
            return Dead("undecodable")
        try:
            handler(message)
        except Retry as retry:
            return Again(max(0.0, retry.delay), failed=False)
        except Exception as error:  # noqa: BLE001 — the outermost loop of foreign code
            return _failed(queue, message, letter, error, first_delay)
        return Done()

    return judge


def listening(topic: str, handler: Handler) -> Judge:
    """Return the judge of a listener: a broadcast comes once, whatever the handler does."""

    def judge(letter: Letter) -> Verdict:
        try:
            handler(decode(letter.body))
        except Exception as error:  # noqa: BLE001 — the outermost loop of foreign code
            log.error("broadcast.failed", topic=topic, error=kind(error), where=raised_at(error))
        return Done()

    return judge


def serving(queue: str, responder: Responder, reply: Reply) -> Judge:
    """Return the judge of a served queue: who asks has a deadline, so nothing comes twice."""

    def judge(letter: Letter) -> Verdict:
        if letter.deadline and time.time() > letter.deadline:
            log.info("request.expired", queue=queue)
            return Done()
        try:
            answer = responder(decode(letter.body))
            reply(letter.reply_to, Letter(answer.encode(), correlation=letter.correlation))
        except Retry as retry:
            return Again(max(0.0, retry.delay), failed=False)
        except BusError as error:
            log.warning("request.unanswered", queue=queue, reason=str(error))
        except MessageError as error:
            log.error("message.undecodable", queue=queue, reason=str(error))
            return Dead("undecodable")
        except Exception as error:  # noqa: BLE001 — the outermost loop of foreign code
            log.error("request.failed", queue=queue, error=kind(error), where=raised_at(error))
        return Done()

    return judge


def _failed(
    queue: str, message: Message, letter: Letter, error: Exception, first_delay: float
) -> Verdict:
    """Return what a failed letter deserves: another try, or the end."""
    failures = letter.failures + 1
    details = {"queue": queue, "type": message.type, "failures": failures}
    log.error("message.failed", **details, error=kind(error), where=raised_at(error))
    if failures >= MAX_FAILURES:
        return Dead(f"failed {failures} times, last with {kind(error)}")
    return Again(min(MAX_DELAY, first_delay * 2.0**letter.failures), failed=True)


def kind(error: Exception) -> str:
    """Return the class of an error, for a log: its text might quote a patient."""
    return type(error).__qualname__
