"""Serves the connections of store nodes in this process, wherever they were accepted."""

import socket
import threading
from collections.abc import Callable
from typing import Protocol

from crossdock.config import Gateway, StoreNode
from crossdock.dicom.listener import Address
from crossdock.dicom.storage_scp import StorageScp
from crossdock.dicom.tls import ServerContext
from crossdock.errors import DicomError
from crossdock.spool import Spool
from crossdock.spool.room import Room
from receiver.admission import Admission
from receiver.commitment import NodeCommitment
from receiver.parcels import Parcels
from receiver.store_scp import NodeHandler


_MAX_ASSOCIATIONS = 1000  # the most that a node can be configured to admit
_STOP_SECONDS = 5.0


class Serving(Protocol):
    """What is behind the ports of the store nodes: it takes connections over, and serves them."""

    def configure(self, gateway: Gateway, revision: int) -> None:
        """Serve as configured from now on.

        Who may send changes without a break; the associations of a node that goes, or whose
        address or TLS changes, are given time to end.
        """

    def serve(self, store_node: str, sock: socket.socket, address: Address) -> None:
        """Take over a connection to a store node, and return at once.

        Raises:
            OSError, RuntimeError: it cannot be served now; the socket stays the caller's.
        """

    def stop(self, grace: float) -> None:
        """End all associations, giving them ``grace`` seconds for the current instance."""


class LocalServing:
    """Serves in this process. ``closed`` is called at the end of each connection taken over."""

    def __init__(
        self,
        spool: Spool,
        parcels: Parcels,
        room: Room,
        admission: Admission,
        closed: Callable[[], None] | None = None,
    ) -> None:
        self._spool = spool
        self._parcels = parcels
        self._room = room
        self._admission = admission
        self._closed = closed
        self._lock = threading.Lock()
        self._wanted: dict[str, StoreNode] = {}
        self._running: dict[str, tuple[NodeHandler, StorageScp]] = {}
        self._stops: list[threading.Thread] = []

    def configure(self, gateway: Gateway, _revision: int) -> None:
        """Serve as configured from now on, as ``Serving`` says."""
        with self._lock:
            self._wanted = {node.name: node for node in gateway.store_nodes if node.enabled}
            for name, (handler, _) in list(self._running.items()):
                wanted = self._wanted.get(name)
                if wanted is None or wanted.listening != handler.node.listening:
                    self._stop(name, _STOP_SECONDS)
                else:
                    handler.node = wanted

    def serve(self, store_node: str, sock: socket.socket, address: Address) -> None:
        """Take over a connection to a store node, as ``Serving`` says."""
        with self._lock:
            scp = self._scp(store_node)
        scp.serve(sock, address)

    def stop(self, grace: float) -> None:
        """End all associations, giving them ``grace`` seconds for the current instance."""
        with self._lock:
            self._wanted = {}
            for name in list(self._running):
                self._stop(name, grace)
        for thread in self._stops:
            thread.join()

    def _scp(self, name: str) -> StorageScp:
        running = self._running.get(name)
        if running is not None:
            return running[1]
        node = self._wanted.get(name)
        if node is None:
            raise ConnectionAbortedError(f"store node {name} is no more")
        handler = NodeHandler(node, self._spool, self._parcels, self._room, self._admission)
        try:
            tls = ServerContext(node.tls.files()) if node.tls is not None else None
        except DicomError as error:
            raise ConnectionAbortedError(str(error)) from None
        scp = StorageScp(
            node.host,
            node.port,
            handler,
            max_associations=_MAX_ASSOCIATIONS,
            tls=tls,
            closed=self._closed,
            commitment=NodeCommitment(handler, self._spool),
        )
        self._running[name] = handler, scp
        return scp

    def _stop(self, name: str, grace: float) -> None:
        _, scp = self._running.pop(name)
        thread = threading.Thread(target=scp.stop, args=(grace,), name=f"stop-{name}", daemon=True)
        thread.start()
        self._stops = [other for other in self._stops if other.is_alive()] + [thread]
