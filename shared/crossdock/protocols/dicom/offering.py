"""What is offered to a peer, instance by instance, and what its answers mean."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydicom.uid import UID

from crossdock.dicom.convert import UNCOMPRESSED
from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.dicom.status import Status, describe, is_out_of_resources, is_warning
from crossdock.dicom.storage_scu import MAX_CONTEXTS
from crossdock.errors import DeliveryError, DicomError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols.base import Outgoing


Context = tuple[str, str]
"""A SOP class and the one transfer syntax that instances of it are in."""

Proposal = tuple[str, tuple[str, ...]]
"""A presentation context to propose: a SOP class and transfer syntaxes, of which one is chosen."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An instance and what its file says, or why the file cannot be read."""

    outgoing: Outgoing
    meta: FileMeta | None
    problem: str = ""

    @property
    def context(self) -> Context | None:
        """What it needs of the peer."""
        meta = self.meta
        return None if meta is None else (meta.sop_class_uid, meta.transfer_syntax_uid)


def prepare(outgoing: Outgoing) -> Prepared:
    """Read what an instance's file says of itself."""
    try:
        meta = read_file_meta(outgoing.path)
    except DicomError as error:
        return Prepared(outgoing, None, f"its file in the spool is damaged: {error}")
    except OSError as error:
        words = error.strerror or type(error).__name__
        return Prepared(outgoing, None, f"its file in the spool cannot be read: {words}")
    if not meta.sop_class_uid or not meta.sop_instance_uid:
        return Prepared(outgoing, None, "SOP class or SOP instance UID is not known")
    return Prepared(outgoing, meta)


def proposals(context: Context, *, converting: bool) -> list[Proposal]:
    """Return what to propose for instances of a context: as they are, and uncompressed."""
    sop_class, syntax = context
    proposed: list[Proposal] = [(sop_class, (syntax,))]
    others = tuple(uid for uid in UNCOMPRESSED if uid != syntax)
    return [*proposed, (sop_class, others)] if converting else proposed


def groups(
    instances: Iterable[Prepared], *, converting: bool
) -> Iterator[tuple[list[Prepared], list[Proposal]]]:
    """Yield the instances in order, in groups that need at most 128 contexts, and those contexts."""
    group: list[Prepared] = []
    proposed: dict[Proposal, None] = {}
    seen: set[Context | None] = {None}
    for each in instances:
        if each.context is not None and each.context not in seen:
            needed = proposals(each.context, converting=converting)
            if len(proposed.keys() | set(needed)) > MAX_CONTEXTS:
                yield group, list(proposed)
                group, proposed, seen = [], {}, {None}
            proposed.update(dict.fromkeys(needed))
            seen.add(each.context)
        group.append(each)
    if group:
        yield group, list(proposed)


def judge(outgoing: Outgoing, status: int, remark: str = "") -> InstanceOutcome:
    """Return what a status means for an instance (PS3.4 B.2.3).

    Raises:
        DeliveryError: the peer is out of resources, and the others would fare no better.
    """
    code = f"{status:04X}"
    if status == Status.SUCCESS:
        return outgoing.outcome(Outcome.DELIVERED, code, remark)
    if is_out_of_resources(status):
        detail = f"the peer answered {describe(status)}"
        raise DeliveryError(ErrorKind.BUSY, detail, temporary=True)
    detail = f"{describe(status)}; {remark}" if remark else describe(status)
    outcome = Outcome.WARNING if is_warning(status) else Outcome.REFUSED
    return outgoing.outcome(outcome, code, detail)


def not_accepted(context: Context) -> str:
    """Return in words that a peer does not take instances of a context."""
    sop_class, syntax = map(name_of, context)
    return f"the peer does not accept {sop_class} in {syntax}"


def name_of(uid: str) -> str:
    """Return what the standard calls a UID; an unknown one stays as it is."""
    return str(UID(uid, validation_mode=0).name)
