"""What is offered to a peer, instance by instance, and what its answers mean."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from crossdock.config.targets import StorageScpTarget
from crossdock.dicom.convert import UNCOMPRESSED
from crossdock.dicom.dictionary import name_of_uid
from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.dicom.status import Status, describe, is_out_of_resources, is_warning
from crossdock.dicom.storage_scu import MAX_CONTEXTS
from crossdock.errors import DeliveryError, DicomError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.dicom.routes import Route, route_of


Context = tuple[str, str]
"""A SOP class and the one transfer syntax that instances of it are in."""

Proposal = tuple[str, tuple[str, ...]]
"""A presentation context to propose: a SOP class and transfer syntaxes, of which one is chosen."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An instance, its route and what its file says, or why it cannot be sent."""

    outgoing: Outgoing
    route: Route
    meta: FileMeta | None
    problem: str = ""

    @property
    def context(self) -> Context | None:
        """What it needs of the peer."""
        meta = self.meta
        return None if meta is None else (meta.sop_class_uid, meta.transfer_syntax_uid)


@dataclass(frozen=True, slots=True)
class Group:
    """Instances that go over one association, and the contexts to propose for them."""

    route: Route
    instances: Sequence[Prepared]
    proposals: Sequence[Proposal]


def prepare(target: StorageScpTarget, outgoing: Outgoing) -> Prepared:
    """Find an instance's route, and read what its file says of itself."""
    route = route_of(target, outgoing.instance)
    meta, problem = _read(outgoing)
    if meta is not None and not route.host:
        meta, problem = None, "the address of its sender is not known, so it cannot be sent there"
    return Prepared(outgoing, route, meta, problem)


def _read(outgoing: Outgoing) -> tuple[FileMeta | None, str]:
    try:
        meta = read_file_meta(outgoing.path)
    except DicomError as error:
        return None, f"its file in the spool is damaged: {error}"
    except OSError as error:
        words = error.strerror or type(error).__name__
        return None, f"its file in the spool cannot be read: {words}"
    if not meta.sop_class_uid or not meta.sop_instance_uid:
        return None, "SOP class or SOP instance UID is not known"
    return meta, ""


def syntaxes(target: StorageScpTarget, transfer_syntax_uid: str) -> list[str]:
    """Return in which transfer syntaxes an instance may go to a target, the best one first.

    It is in ``transfer_syntax_uid``; any other means converting it.
    """
    others = UNCOMPRESSED if target.convert_refused else ()
    wanted = (target.preferred(transfer_syntax_uid), transfer_syntax_uid, *others)
    allowed = target.proposed
    return [uid for uid in dict.fromkeys(wanted) if allowed is None or uid in allowed]


def proposals(target: StorageScpTarget, context: Context) -> list[Proposal]:
    """Return what to propose for instances of a context.

    As a peer chooses one of each, what is preferred, what they are in, and uncompressed ones are
    contexts of their own.
    """
    sop_class, own = context
    uids = syntaxes(target, own)
    alone = [uid for uid in uids if uid in (own, target.preferred(own))]
    last = tuple(uid for uid in uids if uid not in alone)
    return [(sop_class, each) for each in (*((uid,) for uid in alone), last) if each]


def groups(target: StorageScpTarget, instances: Iterable[Outgoing]) -> Iterator[Group]:
    """Yield the instances in order, in groups of one route that need at most 128 contexts."""
    group: list[Prepared] = []
    proposed: dict[Proposal, None] = {}
    seen: set[Context | None] = {None}
    for each in (prepare(target, outgoing) for outgoing in instances):
        new = each.context not in seen
        needed = proposals(target, each.context) if new and each.context is not None else []
        elsewhere = bool(group) and group[-1].route != each.route
        if elsewhere or len(proposed.keys() | set(needed)) > MAX_CONTEXTS:
            yield Group(group[-1].route, group, list(proposed))
            group, proposed, seen = [], {}, {None}
            needed = proposals(target, each.context) if each.context is not None else []
        proposed.update(dict.fromkeys(needed))
        seen.add(each.context)
        group.append(each)
    if group:
        yield Group(group[-1].route, group, list(proposed))


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


def left_out(target: StorageScpTarget, context: Context) -> bool:
    """Whether the target's settings keep instances of a context from going as they are."""
    return target.proposed is not None and context[1] not in target.proposed


def not_accepted(context: Context) -> str:
    """Return in words that a peer does not take instances of a context."""
    sop_class, syntax = map(name_of_uid, context)
    return f"the peer does not accept {sop_class} in {syntax}"
