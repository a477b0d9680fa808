"""Which instances go together in a request, and in which order their outcomes come back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from crossdock.errors import DeliveryError
from crossdock.model import InstanceOutcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.dicomweb.multipart import Part, part_of
from crossdock.protocols.failures import SpoolUnreadable


@dataclass(slots=True)
class Batch:
    """Some instances in order, and what is known of each: a part to send, or its outcome."""

    instances: list[Outgoing] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    outcomes: dict[int, InstanceOutcome] = field(default_factory=dict)
    size: int = 0
    failure: DeliveryError | None = None

    def note(self, outcome: InstanceOutcome) -> None:
        """Keep the outcome of an instance."""
        self.outcomes[outcome.number] = outcome

    def in_order(self) -> Iterator[InstanceOutcome]:
        """Yield the outcomes up to the first instance that has none.

        Raises:
            DeliveryError: what kept the others from having one.
        """
        for outgoing in self.instances:
            outcome = self.outcomes.get(outgoing.instance.number)
            if outcome is None:
                break
            yield outcome
        if self.failure is not None:
            raise self.failure


def batches(instances: Iterable[Outgoing], most_instances: int, most_bytes: int) -> Iterator[Batch]:
    """Yield the instances in batches; a UID is never twice in one, since answers go by UIDs."""
    batch = Batch()
    uids: set[str] = set()
    for outgoing in instances:
        part, uid = _part(outgoing), outgoing.instance.sop_instance_uid
        size = part.size if isinstance(part, Part) else 0
        full = len(batch.parts) >= most_instances or batch.size + size > most_bytes
        if batch.parts and (full or uid in uids):
            yield batch
            batch, uids = Batch(), set()
        batch.instances.append(outgoing)
        if isinstance(part, Part):
            batch.parts.append(part)
            batch.size += size
            uids.add(uid)
        else:
            batch.note(part)
    if batch.instances:
        yield batch


def _part(outgoing: Outgoing) -> Part | InstanceOutcome:
    try:
        return part_of(outgoing)
    except SpoolUnreadable as error:
        return error.outcome(outgoing)
