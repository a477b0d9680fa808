"""One attempt at a delivery: offers what is missing and journals each outcome as it comes.

The one place where adapters meet metrics, the journal and the wish to stop.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from crossdock import traces
from crossdock.config.targets import Target
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.faults import reached
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols import Adapter, Outgoing, WindsDown
from crossdock.protocols.failures import fault
from crossdock.spool import Claim
from dispatcher.adapters import Adapters
from dispatcher.facts import first_refusal
from dispatcher.metrics import BYTES, IN_WORK, INSTANCES, SECONDS
from dispatcher.repeats import Repeats
from dispatcher.retry import Failure


log = structlog.get_logger(__name__)

T = TypeVar("T")

_INTERRUPTED = (
    "what is run after a delivery was begun, and the dispatcher ended before it did: it may have "
    "run, or in part; it is not run again"
)


class Stopped(Exception):  # noqa: N818 — reads as what happened
    """The delivery is to end for now; what was not sent yet stays as it is."""


@dataclass(frozen=True, slots=True)
class Until:
    """How long a delivery may go on: until we are ``stopping``, or it is ``enough`` for now.

    A delivery that is stopped is not even finished, because what that takes would be cut off.
    """

    stopping: threading.Event
    enough: Callable[[], bool]

    def over(self, *, last: bool) -> bool:
        """Whether to end after an instance, which may be the last one."""
        return self.stopping.is_set() or (not last and self.enough())


def deliver(
    adapters: Adapters,
    claim: Claim,
    routed: list[Outgoing],
    until: Until,
    repeats: Repeats,
) -> Failure | None:
    """Make one attempt; return what stopped it, None once the target has everything.

    Only what the target has not confirmed is offered. Each outcome is in the journal before the
    next instance is sent. A kept connection that turns out to be dead is opened again, once.

    Raises:
        Stopped: ``until`` then; nothing failed.
        OSError: the journal cannot be written.
    """
    name = adapters.target.name
    with IN_WORK.labels(name).track_inprogress(), SECONDS.labels(name).time():
        try:
            return _over_kept(adapters, claim, routed, until, repeats)
        except DeliveryError as error:
            return Failure.of(error)


def _over_kept(
    adapters: Adapters,
    claim: Claim,
    routed: list[Outgoing],
    until: Until,
    repeats: Repeats,
) -> Failure | None:
    """Make the attempt over a kept adapter if there is one, and over a fresh one if that is dead.

    Where anything was confirmed the connection was alive, and its end is a failure like any other.
    """
    missing = _missing(claim, routed)
    with adapters.lend() as lent:
        try:
            return _attempt(lent.adapter, claim, routed, until, repeats)
        except DeliveryError as error:
            dead = error.kind is ErrorKind.UNREACHABLE and _missing(claim, routed) == missing
            if not (lent.used and dead):
                raise
        lent.adapter.close()
        log.info("connection.reopened", target=adapters.target.name)
        return _attempt(lent.adapter, claim, routed, until, repeats)


def _attempt(
    adapter: Adapter,
    claim: Claim,
    routed: list[Outgoing],
    until: Until,
    repeats: Repeats,
) -> Failure | None:
    missing, target = _missing(claim, routed), repeats.target
    sizes = {each.instance.number: each.instance.size for each in missing}
    outcomes, count, over = _outcomes(adapter, claim, missing, repeats), 0, False
    for count, outcome in enumerate(outcomes, 1):
        reached("dispatcher.response_received")
        claim.note(outcome=outcome.model_dump(mode="json"))
        reached("dispatcher.outcome_noted")
        INSTANCES.labels(target.name, target.type, outcome.outcome.value).inc()
        sent = outcome.outcome in (Outcome.DELIVERED, Outcome.WARNING)
        if sent and outcome.number not in repeats.skipped:
            BYTES.labels(target.name, target.type).inc(sizes.get(outcome.number, 0))
        over = over or until.over(last=count == len(missing))
        if over and not _winds_down(adapter, target):
            raise Stopped
    if over and (count < len(missing) or until.stopping.is_set()):
        raise Stopped
    failure = _shortfall(claim, routed)
    if failure is None:
        _finish(adapter, claim, routed)
    return failure


def _winds_down(adapter: Adapter, target: Target) -> bool:
    """Have an adapter send no more if it can; return whether it tells yet what is under way."""
    if target.keep_order or not isinstance(adapter, WindsDown):
        return False
    adapter.wind_down()
    return True


def _missing(claim: Claim, routed: list[Outgoing]) -> list[Outgoing]:
    return [each for each in routed if not claim.record.confirmed(each.instance.number)]


def _outcomes(
    adapter: Adapter, claim: Claim, missing: list[Outgoing], repeats: Repeats
) -> Iterator[InstanceOutcome]:
    """Yield the outcomes of the missing instances; damaged files and repeated ones are not sent.

    Only one that is offered alone is sure to arrive before the next.
    """
    sound, keep_order = [], repeats.target.keep_order
    for each in missing if keep_order else in_turn(missing, claim.record.setbacks):
        if _size(each.path) == each.instance.size:
            sound.append(each)
        else:
            yield each.outcome(Outcome.NOT_SENT, detail="its file in the spool is damaged")
    known = {outcome.number: outcome for outcome in repeats.known(sound)}
    yield from known.values()
    sound = [each for each in sound if each.instance.number not in known]
    try:
        for part in ([each] for each in sound) if keep_order else filter(None, [sound]):
            yield from map(repeats.remarked, adapter.send(part))
    except DeliveryError:
        raise
    except Exception as error:  # a fault in an adapter must become a visible reason
        raise fault(error) from error


def in_turn(missing: list[Outgoing], setbacks: int) -> list[Outgoing]:
    """Return the missing instances in the order of this try.

    An instance at which a peer breaks the connection must not keep the others from it, so each try
    after such an end begins one instance later. Where a SOP Instance UID is there twice the order
    of arrival holds, because the peer may keep only the last.
    """
    if not missing or len({each.instance.sop_instance_uid for each in missing}) < len(missing):
        return missing
    start = setbacks % len(missing)
    return missing[start:] + missing[:start]


def _finish(adapter: Adapter, claim: Claim, routed: list[Outgoing]) -> None:
    _faultless(lambda: adapter.finish(routed))
    _once(adapter, claim, routed)


def _once(adapter: Adapter, claim: Claim, routed: list[Outgoing]) -> None:
    """Do what is done only once for a delivery, and note what came of it.

    That it begins is durable before it does. So it is never done twice, and of one that we did not
    live to see the end of it is said that it may have been done.
    """
    match claim.record.once:
        case "ended":
            return
        case "begun":
            remark = _INTERRUPTED
        case _:
            action = _faultless(lambda: adapter.afterwards(routed))
            if action is None:
                return
            claim.note(once="begun")
            claim.sync()
            reached("dispatcher.script_begun")
            started = time.time()
            remark = _done(action)
            traces.record("script", claim.parcel, started, target=claim.record.routed.target)
    claim.note(once="ended", remark=remark)


def _done(action: Callable[[], str]) -> str:
    try:
        return action()
    except Exception as error:  # noqa: BLE001 — whatever it was, the images are there
        return f"{fault(error).detail}; what is run after a delivery may have run"


def _faultless(call: Callable[[], T]) -> T:
    try:
        return call()
    except DeliveryError:
        raise
    except Exception as error:  # as above
        raise fault(error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _shortfall(claim: Claim, routed: list[Outgoing]) -> Failure | None:
    """Return what is still missing after all was offered, in words; None if nothing is."""
    count = sum(not claim.record.confirmed(each.instance.number) for each in routed)
    if not count:
        return None
    first = first_refusal(claim.record)
    if first is None:
        return Failure(ErrorKind.UNEXPECTED, f"{count} instances got no answer")
    kind = ErrorKind.REFUSED if first.outcome is Outcome.REFUSED else ErrorKind.UNEXPECTED
    words = first.detail or first.status or "no reason given"
    verb = "were refused" if first.outcome is Outcome.REFUSED else "could not be sent"
    return Failure(kind, f"{count} of {len(routed)} instances {verb}, the first with: {words}")
