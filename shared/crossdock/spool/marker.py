"""A delivery's marker: the file that says it is unfinished, and the journal of what was done.

Lines of JSON, appended. The first says what was routed, the others what happened since; the state
is what they add up to. A line that a crash cut off counts as not written, so at worst an instance
is sent twice.
"""

import contextlib
import errno
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crossdock.errors import SpoolError
from crossdock.model import Frozen, Instance, InstanceOutcome, Outcome, Parcel, Priority
from crossdock.spool.commitment_record import CommitmentRecord
from crossdock.spool.durable import is_locked, try_lock


COMMITMENT_REPORTED = "commitment reported"
"""Why a delivery is tried again that keeps its attempts: what it waited for has come."""


class Routed(Frozen):
    """Why this delivery exists: which rules, of which revision, wanted which instances.

    ``instances`` are numbers of the parcel; None means all. ``fallback`` is the target that its
    rules name for what this one does not take. ``instead_of`` are the targets that did not take
    it before, the last one last. ``again_at`` is when a person had it sent anew after it was held
    or final; 0 where nobody did.
    """

    target: str
    protocol: str
    rules: tuple[str, ...]
    revision: int
    at: float
    instances: tuple[int, ...] | None = None
    priority: Priority = Priority.NORMAL
    fallback: str = ""
    instead_of: tuple[str, ...] = ()
    again_at: float = 0.0


@dataclass(slots=True)
class DeliveryRecord:
    """What a journal adds up to.

    ``tries`` counts every attempt, ``attempts`` those that count against the delivery since a
    person last asked for a retry. ``next_try`` is a Unix time, 0 where there is nothing to wait
    for. ``once`` says whether what is done only once, after the last instance, was begun and has
    ended; ``remark`` is what came of it, in words. ``fallback`` is the target that was given
    what is missing.
    """

    routed: Routed
    tries: int = 0
    attempts: int = 0
    setbacks: int = 0
    next_try: float = 0.0
    kind: str = ""
    reason: str = ""
    once: Literal["", "begun", "ended"] = ""
    remark: str = ""
    fallback: str = ""
    outcomes: dict[int, InstanceOutcome] = field(default_factory=dict)
    commitment: CommitmentRecord = field(default_factory=CommitmentRecord)

    def confirmed(self, number: int) -> bool:
        """Whether the target has this instance."""
        outcome = self.outcomes.get(number)
        return outcome is not None and outcome.confirmed

    def wanted(self, parcel: Parcel) -> list[Instance]:
        """Return the instances of its parcel that the target is to get, in order."""
        numbers = self.routed.instances
        if numbers is None:
            return list(parcel.instances)
        chosen = set(numbers)
        return [instance for instance in parcel.instances if instance.number in chosen]

    def missing(self, parcel: Parcel) -> list[Instance]:
        """Return those of the wanted instances that the target does not have yet."""
        return [each for each in self.wanted(parcel) if not self.confirmed(each.number)]

    def tally(self, parcel: Parcel) -> Counter[Outcome]:
        """Count the wanted instances by outcome; without one they were not sent."""
        known = (self.outcomes.get(each.number) for each in self.wanted(parcel))
        return Counter(Outcome.NOT_SENT if each is None else each.outcome for each in known)

    def apply(self, entry: dict[str, object]) -> None:
        """Take one line of the journal into account; unknown ones are skipped."""
        match entry:
            case {"try": _}:
                self.tries += 1
            case {"outcome": dict() as outcome}:
                result = InstanceOutcome.model_validate(outcome)
                self.outcomes[result.number] = result
            case {"failed": dict() as failure}:
                self._fail(failure)
            case {"retry": why}:
                self._retry(why)
            case _:
                self._note(entry)

    def _note(self, entry: dict[str, object]) -> None:
        match entry:
            case {"reason": str() as reason}:
                self.reason = reason
            case {"fallback": str() as fallback}:
                self.fallback = fallback
            case {"once": "begun" | "ended" as once}:
                self.once, self.remark = once, str(entry.get("remark", ""))
            case {"commitment": _}:
                self._commit(entry)

    def _commit(self, entry: dict[str, object]) -> None:
        self.commitment.apply(entry)
        if entry["commitment"] == "waiting":
            self.setbacks, self.next_try = 0, self.commitment.until
        elif entry["commitment"] == "ended":
            self.remark = str(entry.get("remark", ""))

    def _retry(self, why: object) -> None:
        """Be tried now: a person wants it, or what was waited for has come."""
        if why != COMMITMENT_REPORTED:
            self.attempts = 0
            self.commitment.ask_now()
        self.setbacks, self.next_try = 0, 0.0

    def _fail(self, failure: dict[str, object]) -> None:
        if failure.get("counts"):
            self.attempts += 1
            self.setbacks = 0
        else:
            self.setbacks += 1
        self.kind = str(failure.get("kind", ""))
        self.reason = str(failure.get("reason", ""))
        next_try = failure.get("next_try")
        self.next_try = float(next_try) if isinstance(next_try, int | float) else 0.0


def first_line(routed: Routed) -> bytes:
    """Return the content of a new marker."""
    return json.dumps({"routed": routed.model_dump(mode="json")}).encode() + b"\n"


def journal_line(entry: Mapping[str, object]) -> bytes:
    """Return an entry as it is appended to a marker: on a line of its own.

    It begins with the line's end, so that it stands apart from what a crash may have cut off.
    """
    return b"\n" + json.dumps(entry).encode()


def read_record(path: Path) -> DeliveryRecord:
    """Return what the journal at ``path`` adds up to.

    Raises:
        FileNotFoundError: there is no such marker (any more).
        SpoolError: its first line is damaged.
    """
    entries = _entries(path.read_bytes())
    first = next(iter(entries), {})
    try:
        record = DeliveryRecord(Routed.model_validate(first.get("routed")))
    except ValueError:
        raise SpoolError(f"{path}: the marker's first line is damaged") from None
    for entry in entries:
        with contextlib.suppress(ValueError):  # what cannot be understood was not written by us
            record.apply(entry)
    return record


def _entries(content: bytes) -> Iterable[dict[str, object]]:
    for line in content.split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # empty, or cut off by a crash
        if isinstance(entry, dict):
            yield entry


class Claim:
    """The right to work at one delivery; nobody else has it until it is released or we die."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.record = read_record(path)

    @classmethod
    def take(cls, path: Path) -> "Claim | None":
        """Claim the marker at ``path``; None if it is gone or somebody else has it.

        Raises:
            SpoolError: the marker is damaged.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if _lock_patiently(descriptor) and _still_there(path, descriptor):
            try:
                return cls(path, descriptor)
            except (SpoolError, OSError):
                os.close(descriptor)
                raise
        os.close(descriptor)
        return None

    @property
    def parcel(self) -> str:
        """The parcel that the delivery is of."""
        return self.path.parent.parent.name

    def note(self, **entry: object) -> None:
        """Append one line to the journal and take it into account.

        Raises:
            OSError: the disk is full or read-only.
        """
        line = journal_line(entry)
        if os.write(self._descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.record.apply(entry)

    def sync(self) -> None:
        """Make the journal durable."""
        os.fdatasync(self._descriptor)

    def release(self) -> None:
        """Let others claim it. Releasing twice is fine."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def in_work(path: Path) -> bool:
    """Whether somebody has claimed the marker at ``path``, or it is gone."""
    try:
        return is_locked(path)
    except FileNotFoundError:
        return True


def _lock_patiently(descriptor: int) -> bool:
    """Lock a marker; wait out the moment in which ``in_work`` may have it."""
    for _ in range(10):
        if try_lock(descriptor):
            return True
        time.sleep(0.002)
    return False


def _still_there(path: Path, descriptor: int) -> bool:
    """Whether the file that we locked is the one under this name, and not one moved away."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
