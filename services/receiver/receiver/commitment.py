"""Storage commitment at a store node: requests of senders, and reports on ours (PS3.4 J)."""

import time

import structlog
from prometheus_client import Counter

from crossdock.config import StoreNode, store_nodes
from crossdock.dicom.commitment import Reference, Report, Request
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scp import Caller
from crossdock.spool import Kept, Owed, Spool, find_kept, key_of
from receiver.admission import ANYBODY, source_of
from receiver.store_scp import NodeHandler


log = structlog.get_logger(__name__)

REQUESTS = Counter(
    "crossdock_commitment_requests",
    "Requests of senders for storage commitment, by the status they were answered with.",
    ["store_node", "status"],
)

_DEFAULTS = store_nodes.NodeCommitment()  # of a node that was reconfigured a moment ago


class NodeCommitment:
    """Answers what is said about commitment over the associations of one store node."""

    def __init__(self, handler: NodeHandler, spool: Spool) -> None:
        self._handler = handler
        self._spool = spool

    def takes_requests(self) -> bool:
        """Whether senders may ask this node for commitment."""
        return self._handler.node.commitment is not None

    def requested(self, caller: Caller, request: Request) -> int:
        """Make a request durable, and so owe its result.

        Raises:
            OSError: it cannot be made durable.
        """
        node = self._handler.node
        status = Status.SUCCESS
        if self._spool.owed.full(caller.address):
            status = Status.RESOURCE_LIMITATION
        else:
            self._spool.owed.put(_owed(node, caller, request, time.time()))
        REQUESTS.labels(node.name, f"{status:04X}").inc()
        log.info(
            "commitment.requested",
            store_node=node.name,
            calling_ae_title=caller.calling_ae_title,
            address=caller.address,
            instances=len(request.references),
            status=f"{status:04X}",
        )
        return status

    def due(self, caller: Caller, transaction_uid: str) -> Report | None:
        """Return what to report over the requester's own association, None if nothing yet.

        Raises:
            OSError: the spool cannot be read.
        """
        owed = self._spool.owed.get(_key(caller, transaction_uid))
        owed = None if owed is None else decided(self._spool, owed, time.time())
        return None if owed is None else owed.report()

    def answered(self, caller: Caller, transaction_uid: str, status: int) -> None:
        """Owe a result no longer that the requester has taken."""
        if status == Status.SUCCESS:
            self._spool.owed.remove(_key(caller, transaction_uid))

    def reported(self, caller: Caller, report: Report) -> int:
        """Keep a report for the delivery that asked; an unknown transaction is refused.

        Raises:
            OSError: it cannot be made durable.
        """
        known = self._spool.commitments.keep(report)
        log.info(
            "commitment.reported",
            calling_ae_title=caller.calling_ae_title,
            address=caller.address,
            committed=len(report.committed),
            failed=len(report.failed),
            known=known,
        )
        return Status.SUCCESS if known else Status.INVALID_ARGUMENT_VALUE


def _key(caller: Caller, transaction_uid: str) -> str:
    return key_of(caller.address, caller.calling_ae_title, transaction_uid)


def _owed(node: StoreNode, caller: Caller, request: Request, now: float) -> Owed:
    settings, source = node.commitment or _DEFAULTS, source_of(node, caller) or ANYBODY
    return Owed(
        transaction_uid=request.transaction_uid,
        store_node=node.name,
        calling_ae_title=caller.calling_ae_title,
        called_ae_title=caller.called_ae_title,
        address=caller.address,
        host=source.commitment_host or caller.address,
        port=source.commitment_port or settings.port,
        targets=settings.targets,
        at=now,
        until=now + settings.wait_seconds,
        references=request.references,
    )


def decided(spool: Spool, owed: Owed, now: float) -> Owed | None:
    """Return a request with its result, durable by now; None while targets are still awaited.

    Raises:
        OSError: the spool cannot be read or written.
    """
    if owed.decided:
        return owed
    wanted = {instance: sop_class for sop_class, instance in owed.references}
    kept = find_kept(spool, wanted, lambda each: len(each.confirmed) >= owed.targets)
    report = judge(owed, kept, now)
    if report is None:
        return None
    owed = owed.decide(report)
    spool.owed.put(owed)
    return owed


def judge(owed: Owed, kept: dict[str, list[Kept]], now: float) -> Report | None:
    """Return the result of a request, None while targets are still awaited (PS3.4 J.3.3). Pure."""
    committed, failed = [], []
    for each in owed.references:
        reference = Reference(*each)
        places = kept.get(reference.sop_instance_uid, [])
        same = [place for place in places if place.sop_class_uid == reference.sop_class_uid]
        if any(len(place.confirmed) >= owed.targets for place in same):
            committed.append(reference)
        elif not places:
            failed.append((reference, int(Status.NO_SUCH_OBJECT_INSTANCE)))
        elif not same:
            failed.append((reference, int(Status.CLASS_INSTANCE_CONFLICT)))
        elif now < owed.until:
            return None
        else:
            failed.append((reference, int(Status.PROCESSING_FAILURE)))
    return Report(owed.transaction_uid, tuple(committed), tuple(failed))
