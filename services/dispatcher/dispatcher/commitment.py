"""Storage commitment of what was sent: asked for, awaited, asked again, sent again (PS3.4 J).

Everything that it knows is in the delivery's journal. A result is a file of the spool, wherever it
came in, so that any dispatcher goes on with it at any time.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from crossdock.config.targets import StorageScpTarget, Target
from crossdock.config.targets.dicom import TargetCommitment
from crossdock.dicom.commitment import Report
from crossdock.dicom.status import Status, describe
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import Outcome
from crossdock.protocols import Outgoing
from crossdock.protocols.base import AsksCommitment
from crossdock.protocols.failures import fault
from crossdock.spool import Asked, Claim, CommitmentRecord, Commitments
from dispatcher.adapters import Adapters
from dispatcher.metrics import COMMITMENTS
from dispatcher.retry import Failure


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Waits:
    """A delivery has nothing to do before ``until``; ``words`` say what it waits for."""

    until: float
    words: str


def settings_of(target: Target) -> TargetCommitment | None:
    """Return how a target is asked for commitment, None if it is not."""
    return target.commitment if isinstance(target, StorageScpTarget) else None


def is_final_when_stored(target: Target) -> bool:
    """Whether what comes of commitment is only a remark on a delivery."""
    return isinstance(target, StorageScpTarget) and target.delivered_means == "stored"


def settle(
    commitments: Commitments,
    adapters: Adapters,
    parcel: str,
    claim: Claim,
    routed: Sequence[Outgoing],
) -> Waits | Failure | None:
    """Do the next step for a delivery whose instances are all stored.

    Returns None once there is nothing left to do, with a remark in the journal. A failure says
    that instances have to be sent again, or that the target could not be asked.

    Raises:
        OSError: journal or spool cannot be written.
    """
    settings = settings_of(adapters.target)
    if settings is None:
        return None
    found = _Settling(commitments, adapters, parcel, claim, routed).step(settings)
    if isinstance(found, Failure) and not found.temporary and is_final_when_stored(adapters.target):
        claim.note(commitment="ended", remark=f"stored; {found.detail}")
        return None
    return found


class _Settling:
    """One step for one delivery."""

    def __init__(
        self,
        commitments: Commitments,
        adapters: Adapters,
        parcel: str,
        claim: Claim,
        routed: Sequence[Outgoing],
    ) -> None:
        self._commitments = commitments
        self._adapters = adapters
        self._target = adapters.target
        self._parcel = parcel
        self._claim = claim
        self._routed = {each.instance.number: each for each in routed}

    def step(self, settings: TargetCommitment) -> Waits | Failure | None:
        """Read what was reported, and ask if there is something to ask."""
        record = self._claim.record.commitment
        ended = self._look(record)
        if not isinstance(ended, Waits) or ended.until > time.time():
            return ended
        if record.rounds > settings.ask_again:
            return self._unanswered(settings)
        try:
            self._ask(settings)
        except DeliveryError as error:
            return Failure.of(error)
        return self._look(record)

    def _look(self, record: CommitmentRecord) -> Waits | Failure | None:
        """Return where it stands, after reading what was reported."""
        self._read_reports()
        if record.failed:
            return self._failed()
        if self._missing():
            return Waits(record.until, self._words(record))
        remark = f"committed by {self._peer}" if record.asked else ""
        self._claim.note(commitment="ended", remark=remark)
        return None

    def _words(self, record: CommitmentRecord) -> str:
        asked = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.since))
        again = f" for the {record.rounds}. time" if record.rounds > 1 else ""
        return f"sent; waits for the storage commitment of {self._peer}, asked {asked}{again}"

    @property
    def _peer(self) -> str:
        target = self._target
        return target.called_ae_title if isinstance(target, StorageScpTarget) else target.name

    def _missing(self) -> list[Outgoing]:
        """Return what the target has stored and not committed itself to keep."""
        record = self._claim.record
        return [
            each
            for number, each in self._routed.items()
            if number not in record.commitment.committed
            and record.outcomes[number].outcome is not Outcome.EXCLUDED
        ]

    def _ask(self, settings: TargetCommitment) -> None:
        now, missing = time.time(), self._missing()
        self._request(missing)
        self._claim.note(commitment="asked", at=now, until=now + settings.wait_seconds)
        self._claim.sync()
        log.info("commitment.asked", target=self._target.name, instances=len(missing))

    def _request(self, missing: list[Outgoing]) -> None:
        with self._adapters.lend() as lent:
            if not isinstance(lent.adapter, AsksCommitment):
                raise TypeError(
                    f"{self._target.type} has settings for commitment and no way to ask"
                )
            try:
                lent.adapter.ask_commitment(missing, self._begin, self._keep)
            except (DeliveryError, OSError):
                raise
            except Exception as error:  # a fault in an adapter must become a visible reason
                raise fault(error) from error

    def _begin(self, instances: Sequence[Outgoing]) -> str:
        """Note durably what is about to be asked, so that its result finds the delivery."""
        asked = Asked(parcel=self._parcel, target=self._target.name, at=time.time())
        transaction = self._commitments.begin(asked)
        numbers = [each.instance.number for each in instances]
        self._claim.note(commitment="asking", transaction=transaction, of=numbers)
        self._claim.sync()
        return transaction

    def _keep(self, report: Report) -> int:
        kept = self._commitments.keep(report)
        return Status.SUCCESS if kept else Status.INVALID_ARGUMENT_VALUE

    def _read_reports(self) -> None:
        for transaction, numbers in list(self._claim.record.commitment.asked.items()):
            report = self._commitments.report(transaction)
            if report is not None:
                self._note(report, numbers)
                self._commitments.read(transaction)

    def _note(self, report: Report, numbers: Sequence[int]) -> None:
        by_uid = defaultdict(list)
        for number in numbers:
            if number in self._routed:
                by_uid[self._routed[number].instance.sop_instance_uid].append(number)
        committed = [
            number for each in report.committed for number in by_uid[each.sop_instance_uid]
        ]
        failed = [
            [number, reason]
            for each, reason in report.failed
            for number in by_uid[each.sop_instance_uid]
        ]
        self._claim.note(
            commitment="reported",
            transaction=report.transaction_uid,
            committed=committed,
            failed=failed,
        )
        self._claim.sync()
        COMMITMENTS.labels(self._target.name, "committed").inc(len(committed))
        COMMITMENTS.labels(self._target.name, "failed").inc(len(failed))
        log.info(
            "commitment.reported",
            target=self._target.name,
            committed=len(committed),
            failed=len(failed),
        )

    def _failed(self) -> Failure:
        failed = dict(sorted(self._claim.record.commitment.failed.items()))
        words = {number: describe(reason) for number, reason in failed.items()}
        return self._send_again(
            {number: f"stored, but not committed: {said}" for number, said in words.items()},
            {number: f"{reason:04X}" for number, reason in failed.items()},
            f"{len(failed)} of {len(self._routed)} instances were not committed, the first with:"
            f" {next(iter(words.values()))}",
        )

    def _unanswered(self, settings: TargetCommitment) -> Failure:
        missing = self._missing()
        rounds = self._claim.record.commitment.rounds
        times = "once" if rounds == 1 else f"{rounds} times"
        detail = f"not committed within {settings.wait_seconds:g} s, asked {times}"
        COMMITMENTS.labels(self._target.name, "unanswered").inc(len(missing))
        numbers = [each.instance.number for each in missing]
        return self._send_again(
            dict.fromkeys(numbers, f"stored, but {detail}"),
            {},
            f"{len(missing)} of {len(self._routed)} instances were {detail}",
        )

    def _send_again(self, details: dict[int, str], statuses: dict[int, str], words: str) -> Failure:
        """Have instances sent again, unless it is final that they were stored."""
        if not is_final_when_stored(self._target):
            for number, detail in details.items():
                outgoing = self._routed.get(number)
                if outgoing is None:
                    continue
                outcome = outgoing.outcome(Outcome.REFUSED, statuses.get(number, ""), detail)
                self._claim.note(outcome=outcome.model_dump(mode="json"))
            self._claim.note(commitment="resend")
        return Failure(ErrorKind.REFUSED, words)
