"""Asks a DICOM target for storage commitment, over an association of its own (PS3.4 J)."""

from collections.abc import Callable, Sequence
from itertools import groupby

import structlog

from crossdock.config.targets import StorageScpTarget
from crossdock.dicom.commitment import Reference, Report, Request
from crossdock.dicom.commitment_scu import CommitmentUser
from crossdock.dicom.errors import NoAcceptedContext
from crossdock.dicom.status import Status, describe
from crossdock.errors import DeliveryError, DicomError, ErrorKind
from crossdock.protocols.base import Outgoing
from crossdock.protocols.dicom.failures import failure
from crossdock.protocols.dicom.routes import Route, by_route, route_of
from crossdock.protocols.dicom.sender import scu_of


log = structlog.get_logger(__name__)

NOT_TAKEN = "the peer does not take storage commitment"


def ask(
    target: StorageScpTarget,
    instances: Sequence[Outgoing],
    begin: Callable[[Sequence[Outgoing]], str],
    keep: Callable[[Report], int],
) -> None:
    """Ask for the commitment of instances, with one request for each route; see ``AsksCommitment``.

    Raises:
        DeliveryError: as an association's end says, or the request was refused.
    """
    routes = groupby(by_route(target, instances), lambda each: route_of(target, each.instance))
    for route, group in routes:
        try:
            _ask(target, route, list(group), begin, keep)
        except NoAcceptedContext:
            raise DeliveryError(ErrorKind.MISCONFIGURED, NOT_TAKEN, temporary=False) from None
        except DicomError as error:
            raise failure(error) from error


def _ask(
    target: StorageScpTarget,
    route: Route,
    instances: Sequence[Outgoing],
    begin: Callable[[Sequence[Outgoing]], str],
    keep: Callable[[Report], int],
) -> None:
    references = tuple(
        Reference(each.instance.sop_class_uid, each.instance.sop_instance_uid) for each in instances
    )
    with scu_of(target, route, CommitmentUser) as scu:
        scu.begin()
        status = scu.request(Request(begin(instances), references), keep)
        if status != Status.SUCCESS:
            words = f"the peer refuses the request for storage commitment: {describe(status)}"
            raise DeliveryError(ErrorKind.REFUSED, words, temporary=False)
        _await_report(target, scu)


def _await_report(target: StorageScpTarget, scu: CommitmentUser) -> None:
    """Wait a little for a result over the same association; one that ends is no failure now."""
    seconds = target.commitment.same_association_seconds if target.commitment else 0.0
    try:
        scu.await_report(seconds)
    except DicomError as error:
        log.debug("commitment.association_ended", target=target.name, reason=str(error))
        scu.close()
