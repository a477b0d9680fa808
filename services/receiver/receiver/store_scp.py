"""Store nodes: listening AEs that come, change and go with the configuration."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Counter, Gauge

from crossdock.config import Gateway, StoreNode
from crossdock.dicom.header import scan
from crossdock.dicom.part10 import file_meta
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scp import (
    CALLED_AE_TITLE_NOT_RECOGNISED,
    CALLING_AE_TITLE_NOT_RECOGNISED,
    Caller,
    Rejection,
    StorageScp,
)
from crossdock.errors import SpoolError
from crossdock.spool import Arrival, Spool
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
_SCAN_BYTES = (16_384, 1_048_576)  # enough for nearly all; then for what has large private groups
_RETRY_SECONDS = 1.0


class NodeHandler:
    """Answers the associations of one store node. ``node`` may be replaced at any time."""

    def __init__(self, node: StoreNode, spool: Spool, parcels: Parcels) -> None:
        self.node = node
        self._spool = spool
        self._parcels = parcels

    def admit(self, caller: Caller) -> Rejection | None:
        """Say whether a caller may send here (PS3.8 9.3.4)."""
        rejection = self._rejection(caller)
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

    def _rejection(self, caller: Caller) -> Rejection | None:
        node = self.node
        if node.check_called_ae_title and caller.called_ae_title != node.ae_title:
            return CALLED_AE_TITLE_NOT_RECOGNISED
        known = node.accept == "any" or any(
            source.matches_title(caller.calling_ae_title) and source.matches_address(caller.address)
            for source in node.sources
        )
        return None if known else CALLING_AE_TITLE_NOT_RECOGNISED

    def begin(
        self, caller: Caller, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> "InstanceWriter":
        """Begin to take in one instance.

        Raises:
            SpoolError: the spool cannot take it.
        """
        meta = file_meta(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            calling_ae_title=caller.calling_ae_title,
            called_ae_title=caller.called_ae_title,
            address=caller.address,
        )
        received = Received(sop_class_uid, sop_instance_uid, transfer_syntax_uid, "", "")
        try:
            arrival = self._spool.arrival()
            arrival.write([meta])
        except OSError as error:
            RECEIVED.labels(self.node.name, f"{Status.OUT_OF_RESOURCES:04X}").inc()
            log.error("instance.not_stored", store_node=self.node.name, reason=error.strerror)
            raise SpoolError(f"{self._spool.incoming}: {error.strerror}") from error
        return InstanceWriter(self, caller, arrival, received, len(meta))

    def keep(self, caller: Caller, arrival: Arrival, received: Received) -> int:
        """Make an instance safe and return the status to answer."""
        status = Status.SUCCESS
        size = arrival.size
        try:
            self._parcels.place(self.node, caller, arrival, received)
        except OSError as error:
            arrival.discard()
            status = Status.OUT_OF_RESOURCES
            log.error("instance.not_stored", store_node=self.node.name, reason=error.strerror)
        else:
            RECEIVED_BYTES.labels(self.node.name).inc(size)
        RECEIVED.labels(self.node.name, f"{status:04X}").inc()
        return status

    def ended(self, caller: Caller) -> None:
        """Take note that an association is over."""
        self._parcels.association_ended(caller.association)


@dataclass(slots=True)
class InstanceWriter:
    """One instance while it arrives."""

    handler: NodeHandler
    caller: Caller
    arrival: Arrival
    received: Received
    offset: int

    def write(self, chunks: Sequence[memoryview]) -> None:
        """Append bytes of the dataset.

        Raises:
            OSError: the disk is full or read-only.
        """
        self.arrival.write(chunks)

    def commit(self) -> int:
        """Make the instance safe where it belongs; return the DIMSE status to answer."""
        found: dict[int, bytes] = {}
        for size in _SCAN_BYTES:
            prefix = self.arrival.read(self.offset, size)
            found = scan(prefix, self.received.transfer_syntax_uid, (_STUDY, _SERIES))
            if len(found) == 2 or len(prefix) < size:  # noqa: PLR2004 — study and series
                break
        received = Received(
            self.received.sop_class_uid,
            self.received.sop_instance_uid,
            self.received.transfer_syntax_uid,
            _uid(found.get(_STUDY, b"")),
            _uid(found.get(_SERIES, b"")),
        )
        return self.handler.keep(self.caller, self.arrival, received)

    def discard(self) -> None:
        """Forget what arrived: the association broke, or the disk is full."""
        self.arrival.discard()


def _uid(value: bytes) -> str:
    """Return a UID as text (PS3.5 9.1: 64 characters), whatever it is made of."""
    return value.decode("ascii", "replace").strip("\0 ")[:64]


class StoreNodes:
    """The store nodes of this process, kept as the configuration says."""

    def __init__(self, spool: Spool, parcels: Parcels) -> None:
        self._spool = spool
        self._parcels = parcels
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

        Who may send changes without a break; a node whose address changes is stopped, with time
        for its associations to end, and started anew.
        """
        with self._lock:
            self._wanted = {node.name: node for node in gateway.store_nodes if node.enabled}
            for name, (handler, _) in list(self._running.items()):
                wanted = self._wanted.get(name)
                if wanted is None or _address(wanted) != _address(handler.node):
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
            with self._lock:
                self._start_missing()

    def _start_missing(self) -> None:
        self._problems = {}
        for name, node in self._wanted.items():
            if name not in self._running:
                self._start(node)

    def _start(self, node: StoreNode) -> None:
        handler = NodeHandler(node, self._spool, self._parcels)
        scp = StorageScp(node.host, node.port, handler)
        try:
            scp.start()
        except OSError as error:
            problem = f"store node {node.name}: port {node.port}: {error.strerror or error}"
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


def _address(node: StoreNode) -> tuple[str, int]:
    return node.host, node.port
