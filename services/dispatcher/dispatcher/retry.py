"""When a delivery that failed is tried again, and when it needs a person. Pure: no clock, no dice.

A failure says something about the target, or about the delivery. A target may be down for a long
weekend: that burns no attempt, and its deliveries wait in its queue until it is asked again. A
target that somebody must mend is asked less often. Instances that a working target refuses count:
after a few attempts the delivery is held.
``ERROR_CLASSES`` says which failure is which; the README's table is compared with it by a test.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crossdock.errors import DeliveryError, ErrorKind
from crossdock.spool import DeliveryRecord


SCALE = "CROSSDOCK_RETRY_SCALE"


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """Failures that are dealt with alike.

    ``of`` is what they say something about: those of a delivery count, and are finite. ``advice``
    tells a person what to do.
    """

    name: str
    of: Literal["target", "delivery"]
    advice: str


AWAY = ErrorClass("away", "target", "it passes by itself, and what waits is sent then")
TO_MEND = ErrorClass(
    "to mend", "target", "mend the target or its settings: what waits is sent then"
)
COUNTED = ErrorClass(
    "counted", "delivery", "mend the cause at the target and retry, or discard the delivery"
)

ERROR_CLASSES: Mapping[ErrorKind, tuple[ErrorClass, ErrorClass]] = {
    ErrorKind.UNREACHABLE: (AWAY, TO_MEND),
    ErrorKind.TIMEOUT: (AWAY, TO_MEND),
    ErrorKind.BUSY: (AWAY, TO_MEND),
    ErrorKind.UNAUTHORISED: (AWAY, TO_MEND),
    ErrorKind.REFUSED: (AWAY, COUNTED),
    ErrorKind.MISCONFIGURED: (AWAY, TO_MEND),
    ErrorKind.UNEXPECTED: (AWAY, COUNTED),
}
"""The class of each kind of error: where it is temporary, and where it is not."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What stopped an attempt, in the terms of ``DeliveryError``."""

    kind: ErrorKind
    detail: str
    temporary: bool = False
    retry_after: float | None = None

    @classmethod
    def of(cls, error: DeliveryError) -> "Failure":
        """Return what an adapter's error says."""
        return cls(error.kind, error.detail, error.temporary, error.retry_after)

    @property
    def error_class(self) -> ErrorClass:
        """How it is dealt with."""
        temporary, lasting = ERROR_CLASSES[self.kind]
        return temporary if self.temporary else lasting

    @property
    def counts(self) -> bool:
        """Whether it says something about the delivery rather than about its target."""
        return self.error_class.of == "delivery"


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at ``when``, a Unix time; ``counts`` if this attempt counts."""

    when: float
    counts: bool


@dataclass(frozen=True, slots=True)
class WithTarget:
    """Wait in the target's queue until the target is asked again: at ``when``, or before."""

    when: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Do not try again before a person has looked; ``reason`` tells that person why."""

    reason: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """All delays, in seconds, before jitter.

    Attributes:
        first: after the first failure of a target; each further one doubles it.
        first_mend: the same where somebody must mend something at the target.
        longest: what doubling ends at.
        refused: after the first, second … attempt that counts; one more and it is held.
        longest_asked: the longest that a peer can ask us to wait.
        jitter: the share by which a delay may be longer or shorter.
        pause: the longest that a target is left alone that nobody must mend.
        spool: after the spool itself failed.
    """

    first: float = 5.0
    first_mend: float = 60.0
    longest: float = 600.0
    refused: tuple[float, ...] = (30.0, 120.0, 600.0, 1800.0)
    longest_asked: float = 3600.0
    jitter: float = 0.2
    pause: float = 60.0
    spool: float = 30.0

    def scaled(self, factor: float) -> "RetryPolicy":
        """Return the policy with all delays multiplied."""
        return RetryPolicy(
            first=self.first * factor,
            first_mend=self.first_mend * factor,
            longest=self.longest * factor,
            refused=tuple(delay * factor for delay in self.refused),
            longest_asked=self.longest_asked * factor,
            jitter=self.jitter,
            pause=self.pause * factor,
            spool=self.spool * factor,
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "RetryPolicy":
        """Return the policy, multiplied by ``CROSSDOCK_RETRY_SCALE``, which is there for tests.

        Raises:
            ValueError: that is no positive number.
        """
        text = environment.get(SCALE) or "1"
        try:
            factor = float(text)
        except ValueError:
            factor = math.nan
        if not 0 < factor < math.inf:
            raise ValueError(f"{SCALE}={text!r}: use a positive number, such as 0.01")
        return cls().scaled(factor)


def decide(
    record: DeliveryRecord,
    failure: Failure,
    policy: RetryPolicy,
    *,
    pause: float | None,
    now: float,
    chance: float,
) -> RetryAt | WithTarget | Hold:
    """Return what becomes of a delivery whose attempt just failed.

    ``record`` does not know of this failure yet. ``pause`` is for how many seconds its target is
    left alone because of it; None where the target is well, so that the delivery waits by itself.
    ``chance``, from 0 to 1, spreads the retries of deliveries that failed together.
    """
    if failure.counts:
        if record.attempts >= len(policy.refused):
            return Hold(_reason(record.attempts + 1, failure.detail))
        delay = policy.refused[record.attempts]
    elif pause is not None:
        return WithTarget(now + pause)
    else:
        delay = backed_off(failure, record.setbacks, policy)
    return RetryAt(now + spread(delay, failure, policy, chance), failure.counts)


def spent(record: DeliveryRecord, policy: RetryPolicy) -> Hold | None:
    """Return why a delivery is held that has had all its attempts, None while it has not.

    It is pending all the same where a dispatcher died after it counted the last one.
    """
    if record.attempts <= len(policy.refused):
        return None
    noted = record.reason.startswith(_failed(record.attempts))
    return Hold(record.reason if noted else _reason(record.attempts, record.reason))


def pause_after(failure: Failure, setbacks: int, policy: RetryPolicy, chance: float) -> float:
    """Return how long to leave a target alone that failed ``setbacks`` times before, in a row."""
    longest = policy.pause if failure.error_class is AWAY else policy.longest
    return spread(min(longest, backed_off(failure, setbacks, policy)), failure, policy, chance)


def backed_off(failure: Failure, setbacks: int, policy: RetryPolicy) -> float:
    """Return the delay after ``setbacks`` failures before this one, in a row."""
    first = policy.first if failure.error_class is AWAY else policy.first_mend
    return float(min(policy.longest, first * 2.0 ** min(setbacks, 30)))


def spread(delay: float, failure: Failure, policy: RetryPolicy, chance: float) -> float:
    """Return a delay made a little longer or shorter, but no shorter than the peer asked for."""
    asked = min(failure.retry_after or 0.0, policy.longest_asked)
    return max(delay * (1 + policy.jitter * (2 * chance - 1)), asked)


def _reason(attempts: int, detail: str) -> str:
    return f"{_failed(attempts)}: {detail}. What to do: {COUNTED.advice}"


def _failed(attempts: int) -> str:
    return f"{attempts} attempts failed, the last one"
