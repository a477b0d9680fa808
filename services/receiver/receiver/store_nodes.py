"""Store nodes: ports that come, change and go with the configuration."""

import socket
import threading
from dataclasses import dataclass

import structlog
from prometheus_client import Gauge

from crossdock.config import Gateway, StoreNode
from crossdock.dicom.listener import Address, Listener
from crossdock.dicom.tls import ServerContext
from crossdock.errors import DicomError
from crossdock.spool.room import Room
from receiver.serving import Serving


log = structlog.get_logger(__name__)

LISTENING = Gauge(
    "crossdock_store_node_listening",
    "1 while an enabled store node listens, else 0.",
    ["store_node"],
)

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Port:
    node: StoreNode
    listener: Listener


class StoreNodes:
    """The listening ports of the store nodes, kept as the configuration says.

    What is accepted is served by ``serving``, which is configured before a port opens.
    """

    def __init__(self, serving: Serving, room: Room) -> None:
        self._serving = serving
        self._room = room
        self._lock = threading.Lock()
        self._wanted: dict[str, StoreNode] = {}
        self._ports: dict[str, _Port] = {}
        self._problems: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_trying, name="store-nodes", daemon=True)

    def start(self) -> None:
        """Start to look after nodes that could not listen."""
        self._thread.start()

    def configure(self, gateway: Gateway, revision: int) -> None:
        """Open, move and close ports so that they are as configured."""
        with self._lock:
            before = self._wanted
            self._wanted = {node.name: node for node in gateway.store_nodes if node.enabled}
            self._serving.configure(gateway, revision)
            for name, port in list(self._ports.items()):
                wanted = self._wanted.get(name)
                if wanted is None or wanted.listening != port.node.listening:
                    self._close(name)
            for name in before.keys() - self._wanted.keys():
                LISTENING.remove(name)  # it is not meant to
            self._open_missing()

    def problems(self) -> str | None:
        """Return which nodes do not listen and why, None if all do."""
        with self._lock:
            return "; ".join(self._problems[name] for name in sorted(self._problems)) or None

    def stop(self, grace: float) -> None:
        """Close all ports, then give associations ``grace`` seconds for the current instance."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._wanted = {}
            for name in list(self._ports):
                self._close(name)
        self._serving.stop(grace)

    def _keep_trying(self) -> None:
        while not self._stopping.wait(_RETRY_SECONDS):
            self._room.problem()  # so that log and metrics know, too, when nobody sends
            with self._lock:
                self._open_missing()

    def _open_missing(self) -> None:
        self._problems = {}
        for name, node in self._wanted.items():
            if name not in self._ports:
                self._open(node)

    def _open(self, node: StoreNode) -> None:
        def take(sock: socket.socket, address: Address) -> None:
            self._serving.serve(node.name, sock, address)

        listener = Listener(node.host, node.port, take)
        try:
            if node.tls is not None:
                ServerContext(
                    node.tls.files()
                )  # what cannot be used is known before a sender comes
            listener.start()
        except (OSError, DicomError) as error:
            words = error.strerror if isinstance(error, OSError) else None
            problem = f"store node {node.name}: port {node.port}: {words or error}"
            self._problems[node.name] = problem
            LISTENING.labels(node.name).set(0)
            return
        self._ports[node.name] = _Port(node, listener)
        LISTENING.labels(node.name).set(1)
        log.info("store_node.listening", store_node=node.name, host=node.host, port=node.port)

    def _close(self, name: str) -> None:
        self._ports.pop(name).listener.stop()
        LISTENING.labels(name).set(0)
        log.info("store_node.stopped", store_node=name)
