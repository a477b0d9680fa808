"""Store nodes: listening AEs that come, change and go with the configuration."""

import threading
from collections.abc import Sequence
from functools import lru_cache

import structlog
from prometheus_client import Counter, Gauge

from crossdock.config import Gateway, StoreNode
from crossdock.dicom.header import scan
from crossdock.dicom.part10 import file_meta
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scp import Caller, Rejection, StorageScp
from crossdock.dicom.tls import ServerContext
from crossdock.errors import DicomError, SpoolError
from crossdock.spool import Arrival, Room, Spool
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
    "crossdock_associations", "Associations asked for, by result.", ["store_node", "result"]
)
LISTENING = Gauge("crossdock_store_node_listening", "Whether a store node listens.", ["store_node"])

_STUDY, _SERIES = 0x0020000D, 0x0020000E
_WANTED = frozenset((_STUDY, _SERIES))
_SCAN_BYTES = 16_384  # enough for nearly all
_LONG_SCAN_BYTES = 1_048_576  # for what has large private groups
_RETRY_SECONDS = 1.0
_MAX_ASSOCIATIONS = 1000  # the most that a node can be configured to admit


@lru_cache(maxsize=1024)
def _received(store_node: str, status: int) -> Counter:
    """Return a counter; finding it again for each instance would cost ten times its use."""
    return RECEIVED.labels(store_node, f"{status:04X}")


@lru_cache(maxsize=1024)
def _received_bytes(store_node: str) -> Counter:
    return RECEIVED_BYTES.labels(store_node)


class NodeHandler:
    """Answers the associations of one store node. ``node`` may be replaced at any time."""

    def __init__(self, node: StoreNode, spool: Spool, parcels: Parcels, room: Room) -> None:
        self.node = node
        self._room = room
        self._admission = Admission(room)
        self._spool = spool
        self._parcels = parcels

    def admit(self, caller: Caller) -> Rejection | None:
        """Say whether a caller may send here (PS3.8 9.3.4)."""
        rejection = self._admission.admit(self.node, caller)
        result = "accepted" if rejection is None else "rejected"
        ASSOCIATIONS.labels(self.node.name, result).inc()
        if rejection is not None:
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
        self._admission.ended(caller)
        self._parcels.association_ended(caller.association)


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
        self._arrival.write(chunks)
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


class StoreNodes:
    """The store nodes of this process, kept as the configuration says."""

    def __init__(self, spool: Spool, parcels: Parcels, room: Room) -> None:
        self._spool = spool
        self._parcels = parcels
        self._room = room
        self._lock = threading.Lock()
        self._wanted: dict[str, StoreNode] = {}
        self._running: dict[str, tuple[NodeHandler, StorageScp]] = {}
        self._problems: dict[str, str] = {}
        self._stops: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_trying, name="store-nodes", daemon=True)

    def start(self) -> None:
        """Start to look after nodes that could not listen."""
        self._thread.start()

    def configure(self, gateway: Gateway, _revision: int) -> None:
        """Start, change and stop nodes so that they are as configured.

        Who may send changes without a break; a node whose address or TLS changes is stopped, with
        time for its associations to end, and started anew.
        """
        with self._lock:
            self._wanted = {node.name: node for node in gateway.store_nodes if node.enabled}
            for name, (handler, _) in list(self._running.items()):
                wanted = self._wanted.get(name)
                if wanted is None or _listening(wanted) != _listening(handler.node):
                    self._stop(name)
                else:
                    handler.node = wanted
            self._start_missing()

    def problems(self) -> str | None:
        """Return which nodes do not listen and why, None if all do."""
        with self._lock:
            return "; ".join(self._problems[name] for name in sorted(self._problems)) or None

    def stop(self, grace: float) -> None:
        """Stop all nodes, giving their associations ``grace`` seconds for the current instance."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._wanted = {}
            for name in list(self._running):
                self._stop(name, grace)
        for thread in self._stops:
            thread.join()

    def _keep_trying(self) -> None:
        while not self._stopping.wait(_RETRY_SECONDS):
            self._room.problem()  # so that log and metrics know, too, when nobody sends
            with self._lock:
                self._start_missing()

    def _start_missing(self) -> None:
        self._problems = {}
        for name, node in self._wanted.items():
            if name not in self._running:
                self._start(node)

    def _start(self, node: StoreNode) -> None:
        handler = NodeHandler(node, self._spool, self._parcels, self._room)
        try:
            scp = _scp(node, handler)
            scp.start()
        except (OSError, DicomError) as error:
            words = error.strerror if isinstance(error, OSError) else None
            problem = f"store node {node.name}: port {node.port}: {words or error}"
            self._problems[node.name] = problem
            LISTENING.labels(node.name).set(0)
            return
        self._running[node.name] = (handler, scp)
        LISTENING.labels(node.name).set(1)
        log.info("store_node.listening", store_node=node.name, host=node.host, port=node.port)

    def _stop(self, name: str, grace: float = 5.0) -> None:
        _, scp = self._running.pop(name)
        LISTENING.labels(name).set(0)
        log.info("store_node.stopped", store_node=name)
        thread = threading.Thread(target=scp.stop, args=(grace,), name=f"stop-{name}", daemon=True)
        thread.start()
        self._stops = [other for other in self._stops if other.is_alive()] + [thread]


def _scp(node: StoreNode, handler: NodeHandler) -> StorageScp:
    """Return the SCP of a node, not listening yet.

    Raises:
        DicomError: its certificate, key or CA cannot be used.
    """
    tls = ServerContext(node.tls.files()) if node.tls is not None else None
    return StorageScp(node.host, node.port, handler, max_associations=_MAX_ASSOCIATIONS, tls=tls)


def _listening(node: StoreNode) -> tuple[object, ...]:
    return node.host, node.port, node.tls
