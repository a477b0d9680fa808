"""Requests on many deliveries: chosen by the ledger, carried out by the router, batch after batch.

Each batch is one message, and the router answers for as many as it had time for. So a request of any
size is answered in bounded time, and says where to go on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from config_api.answers import BatchAnswer, RefusedDelivery
from config_api.records import Records
from config_api.wishes import Filter
from crossdock.bus import Bus
from crossdock.bus.topology import SPOOL
from crossdock.errors import NoReply
from crossdock.messages import (
    BatchFinished,
    BatchRequested,
    DeliveryDiscardRequested,
    DeliveryMoveRequested,
    DeliveryRetryRequested,
    RequestFinished,
)


SECONDS = 8.0
"""For how long batches are begun within one request."""

_SIZE = 200
_REFUSALS = 100
_TIMEOUT_SECONDS = 15.0
_UNKNOWN = RequestFinished(done=False, detail="there is no such unfinished delivery")

Wish = Callable[[str], DeliveryRetryRequested | DeliveryDiscardRequested | DeliveryMoveRequested]
"""Makes the request on one delivery."""


@dataclass(slots=True)
class Outcome:
    """What became of deliveries so far; ``next`` is the last one, None where that was all.

    ``gone`` are those of the refused that the spool knows as final, or not at all.
    """

    done: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    next: str | None = None

    def add(self, identifier: str, answer: RequestFinished) -> None:
        """Take the router's answer on one delivery into account."""
        if answer.done:
            self.done.append(identifier)
        else:
            self.refused.append((identifier, answer.detail))
            self.gone += [identifier] if answer.gone else []

    def answer(self) -> BatchAnswer:
        """Return it as the API tells it."""
        refused = [RefusedDelivery(delivery=each, reason=why) for each, why in self.refused]
        return BatchAnswer(
            dry_run=False,
            matched=len(self.done) + len(refused),
            done=len(self.done),
            refused=refused[:_REFUSALS],
            next=self.next,
        )


class Batches:
    """Has the router carry out a request on each delivery that a filter chooses."""

    def __init__(self, records: Records, bus: Bus) -> None:
        self._records = records
        self._bus = bus

    def run(self, chosen: Filter, wish: Wish, after: str | None = None) -> Outcome:
        """Carry out as much as there is time for, beginning behind the delivery ``after``.

        Raises:
            NoReply: the router did not answer on the first batch.
            BusError: the broker did not take the first batch.
            DatabaseUnavailable: the database cannot be used.
        """
        outcome, until = Outcome(next=after), time.monotonic() + SECONDS
        while True:
            candidates = self._candidates(chosen, outcome.next)
            if not candidates:
                outcome.next = None
                return outcome
            begun = bool(outcome.done or outcome.refused)
            try:
                self._batch(candidates, wish, outcome)
            except NoReply:
                if begun:
                    return outcome
                raise NoReply("The router does not answer: is it running?") from None
            if time.monotonic() > until:
                return outcome

    def _candidates(self, chosen: Filter, after: str | None) -> dict[str, bool]:
        """Return the next deliveries in their order, and whether the ledger knows each so."""
        criteria = chosen.criteria()
        if chosen.ids is None:
            found = self._records.unfinished_ids(criteria, after=after, limit=_SIZE)
            return dict.fromkeys(found, True)
        ids = sorted({each for each in chosen.ids if after is None or each > after})[:_SIZE]
        known = set(self._records.unfinished_ids(criteria | {"ids": ids}, limit=_SIZE))
        return {each: each in known for each in ids}

    def _batch(self, candidates: dict[str, bool], wish: Wish, outcome: Outcome) -> None:
        known = [each for each, is_known in candidates.items() if is_known]
        answers = dict(zip(known, self._ask([wish(each) for each in known]), strict=False))
        for each, is_known in candidates.items():
            if is_known and each not in answers:
                break  # there was no time for it
            outcome.add(each, answers.get(each, _UNKNOWN))
            outcome.next = each

    def _ask(
        self,
        requests: list[DeliveryRetryRequested | DeliveryDiscardRequested | DeliveryMoveRequested],
    ) -> tuple[RequestFinished, ...]:
        if not requests:
            return ()
        batch = BatchRequested(requests=tuple(requests))
        answer = self._bus.request(SPOOL, batch, timeout=_TIMEOUT_SECONDS)
        if not isinstance(answer, BatchFinished):
            raise TypeError(f"the router answered {answer.type}")
        return answer.answers
