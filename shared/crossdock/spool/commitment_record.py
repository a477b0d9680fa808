"""What a delivery's journal says about storage commitment."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class CommitmentRecord:
    """What the journal's entries on commitment add up to.

    Instances go by their numbers. ``asked`` says for each transaction about which it is; those of
    ``current`` are about what was sent last, so only they can say that something failed.
    ``rounds`` counts how often was asked since then, last at ``since``; the result is due at
    ``until`` (Unix times). ``failed`` has the reason of each instance that is not committed.
    ``stored`` says that the delivery was told to be final already.
    """

    asked: dict[str, tuple[int, ...]] = field(default_factory=dict)
    current: set[str] = field(default_factory=set)
    rounds: int = 0
    since: float = 0.0
    until: float = 0.0
    committed: set[int] = field(default_factory=set)
    failed: dict[int, int] = field(default_factory=dict)
    stored: bool = False

    def apply(self, entry: Mapping[str, object]) -> None:
        """Take one entry into account; unknown ones are skipped."""
        match entry:
            case {"commitment": "asking", "transaction": str() as transaction, "of": list() as of}:
                self.asked[transaction] = tuple(int(number) for number in of)
                self.current.add(transaction)
            case {
                "commitment": "asked",
                "at": int() | float() as at,
                "until": int() | float() as until,
            }:
                self.rounds, self.since, self.until = self.rounds + 1, at, until
            case {
                "commitment": "reported",
                "transaction": str() as transaction,
                "committed": list() as committed,
                "failed": list() as failed,
            }:
                self._report(transaction, committed, failed)
            case {"commitment": "resend"}:
                self.current, self.failed = set(), {}
                self.ask_now()
            case {"commitment": "stored"}:
                self.stored = True

    def ask_now(self) -> None:
        """Wait no longer for what was asked before."""
        self.rounds, self.until = 0, 0.0

    def _report(self, transaction: str, committed: list[int], failed: list[list[int]]) -> None:
        self.committed.update(committed)
        for number in committed:
            self.failed.pop(number, None)
        if transaction in self.current:
            self.failed.update((number, reason) for number, reason in failed)
            self.committed.difference_update(self.failed)
