"""Which instances go together in a request, and which requests may be under way together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from crossdock.config.targets import XnatTarget
from crossdock.model import InstanceOutcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import SpoolUnreadable
from crossdock.protocols.xnat.labels import Labelling, Labels


@dataclass(slots=True)
class Batch:
    """Instances of one session, in order; or one whose outcome is known already.

    ``opens`` is whether no batch before is of that session. Batches of the same ``turn`` may be
    under way together, and those of the next one only after.
    """

    labels: Labels | None
    instances: list[Outgoing] = field(default_factory=list)
    known: InstanceOutcome | None = None
    size: int = 0
    opens: bool = False
    turn: int = 0


def batches(
    instances: Iterable[Outgoing], labelling: Labelling, target: XnatTarget
) -> Iterator[Batch]:
    """Yield the instances in batches: single ones, or what fits into a zip file.

    The first of each session goes alone, for XNAT makes the session with it, and what is wrong
    with project or account shows. An instance that is there twice goes one after the other,
    because XNAT refuses the same data from two requests at once.
    """
    turn, uids = 0, set[str]()
    for batch in _cut(instances, labelling, target):
        again = uids.intersection(each.instance.sop_instance_uid for each in batch.instances)
        if batch.opens or again:
            turn += 1
            uids.clear()
        batch.turn = turn
        if batch.opens:
            turn += 1
        uids.update(each.instance.sop_instance_uid for each in batch.instances)
        yield batch


def _cut(
    instances: Iterable[Outgoing], labelling: Labelling, target: XnatTarget
) -> Iterator[Batch]:
    """Yield batches as large as the target's settings have them, each UID once in each."""
    zipped = target.import_handler == "DICOM-zip"
    sessions = set[Labels]()
    batch: Batch | None = None
    for outgoing in instances:
        following = _alone(outgoing, labelling)
        if following.labels is not None and following.labels not in sessions:
            following.opens = True
            sessions.add(following.labels)
        if batch is not None and not (zipped and _fit(batch, following, target)):
            yield batch
            batch = None
        if batch is None:
            batch = following
        else:
            batch.instances.append(outgoing)
            batch.size += following.size
    if batch is not None:
        yield batch


def _fit(batch: Batch, following: Batch, target: XnatTarget) -> bool:
    uids = {each.instance.sop_instance_uid for each in batch.instances}
    return (
        following.labels is not None
        and not batch.opens
        and following.labels == batch.labels
        and len(batch.instances) < target.batch_instances
        and batch.size + following.size <= target.batch_bytes
        and following.instances[0].instance.sop_instance_uid not in uids
    )


def _alone(outgoing: Outgoing, labelling: Labelling) -> Batch:
    try:
        labels = labelling.of(outgoing)
    except SpoolUnreadable as error:
        return Batch(None, known=error.outcome(outgoing))
    return Batch(labels, [outgoing], size=outgoing.instance.size)
