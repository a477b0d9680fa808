"""Stores one batch: makes requests until each instance has its outcome, and says what answers mean.

A server may answer for each instance, or for the whole request only. What an answer does not name
is sent again in halves, so that the one at fault is found and the others are delivered.
"""

from collections.abc import Sequence

from crossdock.config.targets.dicomweb import DicomwebTarget
from crossdock.dicom.status import describe, is_out_of_resources, is_warning
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.dicomweb.batches import Batch
from crossdock.protocols.dicomweb.client import JSON, Client, Request
from crossdock.protocols.dicomweb.failures import Answer, of_answer
from crossdock.protocols.dicomweb.multipart import Multipart, Part, PartDamaged
from crossdock.protocols.dicomweb.report import Report, names_instance, read_report


SERVICE = "STOW-RS"
_CONFLICT = 409
_TOO_LARGE = 413
_DUPLICATE = 0x0111  # PS3.7 C.4.2: the SOP instance is there already
_REASONS = {
    0x0124: "not authorised",
    0xC122: "its transfer syntax is not supported",
}  # PS3.18 I.2.2, beside those of C-STORE


class Store:
    """The STOW-RS service of a target."""

    def __init__(self, target: DicomwebTarget, client: Client) -> None:
        self._target = target
        self._client = client
        self._largest = float("inf")

    def store(self, batch: Batch) -> Batch:
        """Send the parts of a batch and note their outcomes, or what kept them from having one."""
        try:
            self._store(batch)
            self._give_up(batch)
        except DeliveryError as error:
            batch.failure = error
        return batch

    def post(self, parts: Sequence[Part]) -> Answer:
        """Send some parts in one request; without any it asks whether storing is possible.

        Raises:
            DeliveryError: there is no answer, or one that is about the target.
        """
        url = self._target.resource(self._target.stow_prefix, "studies")
        body = Multipart(parts)
        answer = self._client.request(Request("POST", url, body=body, instances=len(parts)))
        failure = of_answer(answer, SERVICE)
        if failure is not None:
            raise failure
        return answer

    def _store(self, batch: Batch) -> None:
        waiting = [batch.parts]
        while waiting:
            parts = waiting.pop()
            if not parts:
                continue
            size = sum(part.size for part in parts)
            if len(parts) > 1 and size > self._largest:
                waiting += _halves(parts)
                continue
            try:
                answer = self.post(parts)
            except PartDamaged as damaged:
                batch.note(damaged.outcome(damaged.part.outgoing))
                waiting.append([part for part in parts if part is not damaged.part])
            else:
                if answer.status == _TOO_LARGE:
                    self._largest = min(self._largest, size - 1)
                waiting += _halves(self._judge(batch, parts, answer))

    def _judge(self, batch: Batch, parts: Sequence[Part], answer: Answer) -> list[Part]:
        """Note what an answer says of each part, and return those that are to be sent again."""
        report = read_report(answer.body)
        alone = len(parts) == 1
        rest = []
        for part in parts:
            outcome = named(part.outgoing, report, alone=alone)
            if outcome is None and (answer.good or (alone and answer.status == _CONFLICT)):
                outcome = self._asked(part.outgoing)
            if outcome is None and alone:
                outcome = _unnamed(part.outgoing, answer)
            if outcome is None:
                rest.append(part)
            else:
                batch.note(outcome)
        return rest

    def _asked(self, outgoing: Outgoing) -> InstanceOutcome | None:
        """Ask the server whether it has an instance that its answer did not name."""
        uid = outgoing.instance.sop_instance_uid
        url = self._target.resource(self._target.qido_prefix, "instances")
        if not uid or not uid.replace(".", "").isalnum() or not uid.isascii():
            return None
        query = Request("GET", f"{url}?SOPInstanceUID={uid}&limit=1", accept=JSON)
        answer = self._client.request(query)
        if not answer.good or not names_instance(answer.body, uid):
            return None
        detail = "the server did not name it in its answer, but has it"
        return outgoing.outcome(Outcome.DELIVERED, f"HTTP {answer.status}", detail)

    def _give_up(self, batch: Batch) -> None:
        """Do not go on with a server that fails at whatever it gets.

        Raises:
            DeliveryError: so it is.
        """
        numbers = [part.outgoing.instance.number for part in batch.parts]
        statuses = {batch.outcomes[number].status for number in numbers}
        if len(numbers) > 1 and all(status.startswith("HTTP 5") for status in statuses):
            for number in numbers:
                del batch.outcomes[number]
            detail = f"{SERVICE}: {min(statuses)} for whatever is sent; look at the server's log"
            raise DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False)


def _halves(parts: list[Part]) -> list[list[Part]]:
    """Return the second half and the first one: what is sent next is taken from the end."""
    middle = (len(parts) + 1) // 2
    return [parts[middle:], parts[:middle]]


def named(outgoing: Outgoing, report: Report, *, alone: bool) -> InstanceOutcome | None:
    """Return what a report says of an instance, None if it does not name it.

    One that was sent alone is meant even if it is named by another UID, the one in its dataset.

    Raises:
        DeliveryError: the server is out of resources, and others would fare no better.
    """
    uid = outgoing.instance.sop_instance_uid
    if alone and len(report.stored) + len(report.failed) == 1:
        uid = next(iter([*report.stored, *report.failed]))
    if uid in report.stored:
        warning = report.stored[uid]
        if warning and is_warning(warning):
            return outgoing.outcome(Outcome.WARNING, f"{warning:04X}", describe(warning))
        return outgoing.outcome(Outcome.DELIVERED, "stored")
    if uid in report.failed:
        return _failed(outgoing, report.failed[uid])
    return None


def _failed(outgoing: Outgoing, reason: int | None) -> InstanceOutcome:
    """Return what a FailureReason means (PS3.18 I.2.2)."""
    if reason is None:
        return outgoing.outcome(Outcome.REFUSED, "failed", "the server names no reason")
    code = f"{reason:04X}"
    if reason == _DUPLICATE:
        return outgoing.outcome(Outcome.DELIVERED, code, "the server had it already")
    if is_out_of_resources(reason):
        detail = f"{SERVICE}: the server answered {describe(reason)}"
        raise DeliveryError(ErrorKind.BUSY, detail, temporary=True)
    words = _REASONS.get(reason)
    detail = f"{code} {words}" if words else describe(reason)
    return outgoing.outcome(Outcome.REFUSED, code, detail)


def _unnamed(outgoing: Outgoing, answer: Answer) -> InstanceOutcome:
    """Return the outcome of an instance that was sent alone and that the answer does not name."""
    status = f"HTTP {answer.status}"
    words = _OF_ONE.get(answer.status, "the server does not take it")
    if answer.good:
        words = "the server does not say that it stored it, and does not have it"
    return outgoing.outcome(Outcome.REFUSED, status, f"{answer.words}: {words}")


_OF_ONE = {
    400: "the server does not understand it",
    409: "the server does not take it",
    413: "it is larger than the server allows; raise its limit",
    415: "the server does not take its transfer syntax or SOP class",
    500: "the server fails at it; look at its log",
}
