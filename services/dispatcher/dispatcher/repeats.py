"""Instances that a target has got before: identical ones are not sent again, others are flagged."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from crossdock.config.targets import Target
from crossdock.dicom.part10 import read_file_meta
from crossdock.errors import DicomError
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols import Outgoing
from dispatcher.delivered import SEVERAL, Before, Delivered
from dispatcher.metrics import REPEATED


log = structlog.get_logger(__name__)

_NO_PLACE = frozenset(
    {"enabled", "concurrency", "check_seconds", "contact", "description", "direction"}
    | {"skip_repeated", "connect_timeout", "timeout", "paused", "draining", "windows", "time_zone"}
    | {"urgent_any_time", "bandwidth", "keep_order", "fallback", "fallback_after"}
    | {"commitment", "delivered_means"}
)
"""Settings that change nothing about where instances go and what becomes of them there."""


class Repeats:
    """What is known of the instances of one attempt; a context manager, used by one thread.

    At its end it remembers what the target confirmed. It knows nothing and remembers nothing for
    a target without ``skip_repeated``, and forgets what it knew: what is sent unseen could make it
    untrue. ``skips`` says whether repeated ones are left out at all; ``skipped`` are the numbers
    of the instances that were not sent.
    """

    def __init__(
        self,
        directory: Path,
        target: Target,
        parcel: str,
        clock: Callable[[], float] = time.time,
        *,
        skips: bool = True,
    ) -> None:
        self.target = target
        self._parcel = parcel
        self._clock = clock
        self._skips = skips
        self._index = Delivered(directory / f"{target.name}.sqlite", _place(target))
        self._digests: dict[str, bytes] = {}
        self._before: dict[str, Before] = {}
        self._confirmed: dict[str, bytes] = {}
        self.skipped: set[int] = set()
        if not target.skip_repeated:
            self._index.forget()

    def known(self, offered: list[Outgoing]) -> list[InstanceOutcome]:
        """Return the outcomes of those instances that need not be sent.

        Raises:
            OSError: it cannot be looked up now; nothing may be sent.
        """
        if not self.target.skip_repeated:
            return []
        counts = Counter(each.instance.sop_instance_uid for each in offered)
        self._digests = {
            uid: _digest(each.path) if counts[uid] == 1 else SEVERAL
            for each in offered
            if (uid := each.instance.sop_instance_uid)
        }
        self._before = self._index.offer(self._digests, self._parcel, self._clock())
        return [outcome for each in offered if (outcome := self._skipped(each)) is not None]

    def remarked(self, outcome: InstanceOutcome) -> InstanceOutcome:
        """Take note of an outcome; return it, flagged if it replaces other bytes."""
        uid = outcome.sop_instance_uid
        digest = self._digests.get(uid)
        if digest is None or outcome.outcome not in (Outcome.DELIVERED, Outcome.WARNING):
            return outcome
        before = self._before.get(uid)
        if before is None:
            self._confirmed[uid] = digest
            return outcome
        if before.same:
            return outcome
        self._confirmed[uid] = digest
        REPEATED.labels(self.target.name, "replaced").inc()
        flag = f"replaces other bytes that were delivered before in parcel {before.parcel}"
        detail = f"{outcome.detail}; {flag}" if outcome.detail else flag
        return outcome.model_copy(update={"detail": detail})

    def _skipped(self, offered: Outgoing) -> InstanceOutcome | None:
        before = self._before.get(offered.instance.sop_instance_uid)
        if before is None or not before.same or not self._skips:
            return None
        self.skipped.add(offered.instance.number)
        REPEATED.labels(self.target.name, "skipped").inc()
        words = f"not sent again: already delivered in parcel {before.parcel}"
        return offered.outcome(Outcome.DELIVERED, detail=words)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._confirmed:
            return
        try:
            self._index.confirm(self._confirmed, self._parcel, self._clock())
        except OSError as problem:
            log.warning("delivered.not_noted", target=self.target.name, reason=problem.strerror)


def _place(target: Target) -> str:
    """Return the settings that say where a target's instances go, as a text without secrets."""
    settings = target.model_dump(mode="json", exclude=set(_NO_PLACE))
    plain = {
        name: value
        for name, value in settings.items()
        if not (isinstance(value, dict) and "sealed" in value)
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> bytes:
    """Return a digest of a dataset as it was received; of one that cannot be read, none."""
    try:
        meta = read_file_meta(path)
        digest = hashlib.sha256(meta.transfer_syntax_uid.encode() + b"\0")
        with path.open("rb") as file:
            file.seek(meta.dataset_offset)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except (OSError, DicomError):
        return SEVERAL
    return digest.digest()
