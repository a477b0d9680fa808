"""Storage commitment at a store node: reports on what dispatchers asked their targets (PS3.4 J)."""

import structlog

from crossdock.dicom.commitment import Report, Request
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scp import Caller
from crossdock.spool import Commitments


log = structlog.get_logger(__name__)


class NodeCommitment:
    """Answers what is said about commitment over the associations of one store node."""

    def __init__(self, commitments: Commitments) -> None:
        self._commitments = commitments

    def takes_requests(self) -> bool:
        """Whether senders may ask this node for commitment."""
        return False

    def requested(self, _caller: Caller, _request: Request) -> int:
        """Take a request."""
        return Status.SOP_CLASS_NOT_SUPPORTED

    def due(self, _caller: Caller, _transaction_uid: str) -> Report | None:
        """Return what to report over the requester's own association."""
        return None

    def answered(self, caller: Caller, transaction_uid: str, status: int) -> None:
        """Hear how the requester answered to that."""

    def reported(self, caller: Caller, report: Report) -> int:
        """Keep a report for the delivery that asked; an unknown transaction is refused.

        Raises:
            OSError: it cannot be made durable.
        """
        known = self._commitments.keep(report)
        log.info(
            "commitment.reported",
            calling_ae_title=caller.calling_ae_title,
            address=caller.address,
            committed=len(report.committed),
            failed=len(report.failed),
            known=known,
        )
        return Status.SUCCESS if known else Status.INVALID_ARGUMENT_VALUE
