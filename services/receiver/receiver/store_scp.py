"""Answers the associations of a store node, and keeps the instances that come over them."""

import time
from collections.abc import Sequence
from functools import lru_cache

import structlog
from prometheus_client import Counter, Histogram

from crossdock.config import StoreNode
from crossdock.dicom.header import scan
from crossdock.dicom.part10 import file_meta
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scp import Caller, Rejection
from crossdock.errors import SpoolError
from crossdock.faults import reached
from crossdock.spool import Arrival, Spool
from crossdock.spool.room import Room
from receiver.admission import Admission
from receiver.parcels import Parcels, Received


log = structlog.get_logger(__name__)

RECEIVED = Counter(
    "crossdock_instances_received", "Instances answered, by status.", ["store_node", "status"]
)
RECEIVED_BYTES = Counter(
    "crossdock_received_bytes", "Bytes of the instances answered with success.", ["store_node"]
)
ASSOCIATIONS = Counter(
    "crossdock_associations",
    "Associations asked for: accepted, rejected, or busy, which is rejected for the moment.",
    ["store_node", "result"],
)
ASSOCIATION_SECONDS = Histogram(
    "crossdock_association_duration_seconds",
    "Duration of the associations that were accepted.",
    ["store_node"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400),
)

_FOR_THE_MOMENT = 2  # PS3.8 9.3.4: rejected-transient

_STUDY, _SERIES = 0x0020000D, 0x0020000E
_WANTED = frozenset((_STUDY, _SERIES))
_SCAN_BYTES = 16_384  # enough for nearly all
_LONG_SCAN_BYTES = 1_048_576  # for what has large private groups


@lru_cache(maxsize=1024)
def _received(store_node: str, status: int) -> Counter:
    """Return a counter; finding it again for each instance would cost ten times its use."""
    return RECEIVED.labels(store_node, f"{status:04X}")


@lru_cache(maxsize=1024)
def _received_bytes(store_node: str) -> Counter:
    return RECEIVED_BYTES.labels(store_node)


def _result(rejection: Rejection | None) -> str:
    if rejection is None:
        return "accepted"
    return "busy" if rejection.result == _FOR_THE_MOMENT else "rejected"


class NodeHandler:
    """Answers the associations of one store node. ``node`` may be replaced at any time."""

    def __init__(
        self, node: StoreNode, spool: Spool, parcels: Parcels, room: Room, admission: Admission
    ) -> None:
        self.node = node
        self._room = room
        self._admission = admission
        self._spool = spool
        self._parcels = parcels
        self._began: dict[str, float] = {}

    def admit(self, caller: Caller) -> Rejection | None:
        """Say whether a caller may send here (PS3.8 9.3.4)."""
        rejection = self._admission.admit(self.node, caller)
        ASSOCIATIONS.labels(self.node.name, _result(rejection)).inc()
        if rejection is None:
            self._began[caller.association] = time.monotonic()
        else:
            log.warning(
                "association.rejected",
                store_node=self.node.name,
                calling_ae_title=caller.calling_ae_title,
                called_ae_title=caller.called_ae_title,
                address=caller.address,
                reason=rejection.reason,
            )
        return rejection

    def begin(
        self, caller: Caller, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> "InstanceWriter":
        """Begin to take in one instance.

        Raises:
            SpoolError: the spool cannot take it.
        """
        problem = self._room.problem()
        if problem is not None:
            _received(self.node.name, Status.OUT_OF_RESOURCES).inc()
            raise SpoolError(problem)
        meta = file_meta(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            calling_ae_title=caller.calling_ae_title,
            called_ae_title=caller.called_ae_title,
            address=caller.address,
        )
        try:
            arrival = self._spool.arrival(meta)
        except OSError as error:
            _received(self.node.name, Status.OUT_OF_RESOURCES).inc()
            log.error("instance.not_stored", store_node=self.node.name, reason=error.strerror)
            raise SpoolError(f"{self._spool.incoming}: {error.strerror}") from error
        uids = sop_class_uid, sop_instance_uid, transfer_syntax_uid
        return InstanceWriter(self, caller, arrival, uids, len(meta))

    def keep(self, caller: Caller, arrival: Arrival, received: Received) -> int:
        """Make an instance safe and return the status to answer."""
        node = self.node
        try:
            self._parcels.place(node, caller, arrival, received)
            reached("receiver.name_synced")
        except OSError as error:
            arrival.discard()
            _received(node.name, Status.OUT_OF_RESOURCES).inc()
            log.error("instance.not_stored", store_node=node.name, reason=error.strerror)
            return Status.OUT_OF_RESOURCES
        _received_bytes(node.name).inc(arrival.size)
        _received(node.name, Status.SUCCESS).inc()
        return Status.SUCCESS

    def ended(self, caller: Caller) -> None:
        """Take note that an association is over."""
        self._admission.ended(caller.association)
        self._parcels.association_ended(caller.association)
        began = self._began.pop(caller.association, None)
        if began is not None:
            ASSOCIATION_SECONDS.labels(self.node.name).observe(time.monotonic() - began)


class InstanceWriter:
    """One instance while it arrives, after ``meta_length`` bytes of file meta information.

    ``uids`` are those of SOP class, SOP instance and transfer syntax.
    """

    __slots__ = ("_arrival", "_caller", "_found", "_handler", "_meta_length", "_uids")

    def __init__(
        self,
        handler: NodeHandler,
        caller: Caller,
        arrival: Arrival,
        uids: tuple[str, str, str],
        meta_length: int,
    ) -> None:
        self._handler = handler
        self._caller = caller
        self._arrival = arrival
        self._uids = uids
        self._meta_length = meta_length
        self._found: dict[int, bytes] | None = None

    def write(self, chunks: Sequence[memoryview]) -> None:
        """Append bytes of the dataset.

        Raises:
            OSError: the disk is full or read-only.
        """
        reached("receiver.pdu_received")
        self._arrival.write(chunks)
        reached("receiver.part_written")
        if self._found is None:  # mostly enough, and looked at while the rest is still on its way
            self._found = self._scan(chunks[0][:_SCAN_BYTES])

    def commit(self) -> int:
        """Make the instance safe where it belongs; return the DIMSE status to answer."""
        found = self._found or {}
        for size in (_SCAN_BYTES, _LONG_SCAN_BYTES):
            if len(found) == len(_WANTED):
                break
            found = self._scan(self._arrival.read(self._meta_length, size))
        study, series = _uid(found.get(_STUDY, b"")), _uid(found.get(_SERIES, b""))
        received = Received(*self._uids, study, series)
        return self._handler.keep(self._caller, self._arrival, received)

    def _scan(self, prefix: memoryview | bytes) -> dict[int, bytes]:
        return scan(prefix, self._uids[2], _WANTED)

    def discard(self) -> None:
        """Forget what arrived: the association broke, or the disk is full."""
        self._arrival.discard()


@lru_cache(maxsize=1024)
def _uid(value: bytes) -> str:
    """Return a UID as text (PS3.5 9.1: 64 characters), whatever it is made of."""
    return value.decode("ascii", "replace").strip("\0 ")[:64]
