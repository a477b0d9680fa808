"""The nouns that travel between services: instances, parcels, deliveries and their outcomes.

All of them are frozen and made of plain values, so that they serialise to JSON as they are.
"""

import hashlib
import re
import secrets
import time
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of all value models: immutable, strict when written, tolerant when read."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def new_id(now: float | None = None) -> str:
    """Return a fresh identifier of 26 lower-case hex digits that sorts by time of creation."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    return f"{milliseconds:012x}{secrets.token_hex(7)}"


PART = "u"
"""What the identifier of a parcel that was split off another one is longer by."""

_ID = re.compile(r"[0-9a-f]{26}")


def trace_id(parcel: str) -> str:
    """Return the W3C trace id of a parcel and of all its deliveries: 32 hex digits.

    It begins with the parcel's identifier, so that either can be read off the other. All of its
    last 16 digits are as good as random, which is what samplers go by. What was split off a parcel
    has the trace of that.
    """
    parcel = parcel.rstrip(PART)
    if _ID.fullmatch(parcel):
        return parcel + hashlib.blake2b(parcel.encode(), digest_size=3).hexdigest()
    return hashlib.blake2b(parcel.encode(), digest_size=16).hexdigest()  # a name that is not ours


def delivery_id(parcel: str, target: str) -> str:
    """Return the identifier of the delivery of ``parcel`` to ``target``."""
    return f"{parcel}-{target}"


def split_delivery_id(delivery: str) -> tuple[str, str]:
    """Return ``(parcel, target)`` of a delivery's identifier.

    Raises:
        ValueError: the text is no delivery identifier.
    """
    parcel, dash, target = delivery.partition("-")
    if not (parcel and dash and target):
        raise ValueError(f"{delivery!r} is no delivery identifier (PARCEL-TARGET)")
    return parcel, target


class Instance(Frozen):
    """One received instance inside a parcel.

    ``number`` is its place in the parcel, from 1, and the name of its file. ``size`` is that of
    the file in bytes. The AE titles and the address are those of the association it came in on.
    """

    number: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size: int
    calling_ae_title: str
    called_ae_title: str
    address: str


class Parcel(Frozen):
    """The instances that arrived together: one store node, source, study and series."""

    id: str
    store_node: str
    calling_ae_title: str
    address: str
    study_instance_uid: str
    series_instance_uid: str
    received_at: float
    closed_at: float
    instances: tuple[Instance, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(instance.size for instance in self.instances)


class Outcome(StrEnum):
    """What became of one instance in a delivery."""

    DELIVERED = "delivered"
    WARNING = "warning"  # delivered, and the peer added a warning
    REFUSED = "refused"  # the peer said no to this instance
    NOT_SENT = "not_sent"  # never offered: something held it back
    EXCLUDED = "excluded"  # the target's settings leave it out


class InstanceOutcome(Frozen):
    """The outcome of one instance: ``status`` is what the peer answered, in its own terms."""

    number: int
    sop_instance_uid: str
    outcome: Outcome
    status: str = ""
    detail: str = ""

    @property
    def confirmed(self) -> bool:
        """Whether the target has it, or is not to have it: a retry need not send it again."""
        return self.outcome in (Outcome.DELIVERED, Outcome.WARNING, Outcome.EXCLUDED)


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"  # in its target's queue, or between two attempts
    DELIVERED = "delivered"
    HELD = "held"  # needs a person
    DISCARDED = "discarded"  # a person decided so


class Priority(StrEnum):
    """How urgent a delivery is, the most urgent first."""

    URGENT = "urgent"
    NORMAL = "normal"
    OFF_PEAK = "off-peak"

    def before(self, other: "Priority") -> bool:
        """Whether this one is more urgent."""
        order = tuple(Priority)
        return order.index(self) < order.index(other)


class ParcelState(StrEnum):
    """Where a parcel stands."""

    RECEIVED = "received"
    ROUTED = "routed"
    HELD = "held"  # nobody wanted it
    DISCARDED = "discarded"


class CheckStage(Frozen):
    """One stage of a check, such as ``resolve`` or ``associate``.

    ``detail`` says in plain words what was found, ``advice`` what to do about a failure.
    ``certificate_days`` is for how many days the peer's certificate is still valid, if it has one.
    """

    name: str
    state: Literal["ok", "failed", "skipped"]
    milliseconds: float = 0.0
    detail: str = ""
    advice: str = ""
    certificate_days: int | None = None


class CheckReport(Frozen):
    """A staged connectivity report on a target, in the order in which the stages ran."""

    stages: tuple[CheckStage, ...]

    @property
    def green(self) -> bool:
        """Whether something was checked and nothing failed."""
        states = [stage.state for stage in self.stages]
        return "ok" in states and "failed" not in states

    @property
    def failure(self) -> CheckStage | None:
        """The stage that failed, None if none did."""
        return next((stage for stage in self.stages if stage.state == "failed"), None)

    @property
    def certificate_days(self) -> int | None:
        """For how many days the peer's certificate is still valid, None where that is not known."""
        known = (stage.certificate_days for stage in self.stages)
        return min((days for days in known if days is not None), default=None)
