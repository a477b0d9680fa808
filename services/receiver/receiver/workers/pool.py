"""All workers of a receiver: who gets the next connection, and what holds for all of them."""

import socket
import threading
import time
from collections.abc import Callable
from functools import partial

from crossdock.config import Gateway, StoreNode
from crossdock.dicom.listener import Address
from crossdock.dicom.negotiation import TEMPORARILY_NO_REASON_GIVEN
from crossdock.dicom.storage_scp import Rejection
from crossdock.messages import ParcelReceived
from receiver.admission import Admission
from receiver.workers import words
from receiver.workers.nursery import Nursery
from receiver.workers.worker import Worker


_INSIST_SECONDS = 2.0  # after the grace, for closing parcels
_FLOOD_SECONDS, _FLOOD_STEP = 2.0, 0.005


class Workers:
    """Serves connections in ``count`` worker processes.

    Associations are admitted by ``admission`` for all of them. ``announce`` is called with each
    parcel that a worker closed. ``lost`` is called if a worker that dies cannot be replaced.
    """

    def __init__(
        self,
        count: int,
        nursery: Nursery,
        admission: Admission,
        announce: Callable[[ParcelReceived], None],
        lost: Callable[[], None],
    ) -> None:
        self._nursery = nursery
        self._admission = admission
        self._announce = announce
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._nodes: dict[str, StoreNode] = {}
        self._associations: dict[int, set[str]] = {n: set() for n in range(1, count + 1)}
        self._workers = [
            Worker(n, nursery, partial(self._heard, n), partial(self._ended, n), lost)
            for n in self._associations
        ]

    def start(self) -> None:
        """Start all workers."""
        for worker in self._workers:
            worker.start()

    def problem(self) -> str | None:
        """Return which workers do not serve as configured, None if all do."""
        problems = [problem for worker in self._workers if (problem := worker.problem())]
        return "; ".join(problems) or None

    def configure(self, gateway: Gateway, revision: int) -> None:
        """Serve as configured from now on, as ``Serving`` says."""
        self._nodes = {node.name: node for node in gateway.store_nodes}
        document = Gateway(store_nodes=gateway.store_nodes).model_dump_json().encode()
        for worker in self._workers:
            worker.configure((revision, document))

    def serve(self, store_node: str, sock: socket.socket, address: Address) -> None:
        """Hand a connection to the worker that has the fewest, as ``Serving`` says."""
        said = words.Serve(store_node=store_node, address=address)
        deadline = time.monotonic() + _FLOOD_SECONDS
        while not self._hand(said, sock):
            # The kernel keeps the connections of a flood that their channels do not take.
            if time.monotonic() > deadline or self._stopping.wait(_FLOOD_STEP):
                raise ConnectionAbortedError("no worker takes it")
        sock.close()

    def stop(self, grace: float) -> None:
        """End all workers, giving associations ``grace`` seconds for the current instance."""
        self._stopping.set()
        for worker in self._workers:
            worker.stop(grace)
        deadline = time.monotonic() + grace + _INSIST_SECONDS
        for worker in self._workers:
            worker.join(deadline)
        self._nursery.close()

    def _hand(self, said: words.Serve, sock: socket.socket) -> bool:
        with self._lock:
            in_order = sorted(self._workers, key=lambda each: each.load)
            return any(worker.serve(said, sock) for worker in in_order)

    def _heard(self, number: int, said: words.Words) -> words.Words | None:
        match said:
            case words.Admit():
                rejection = self._admit(number, said)
                return words.Admitted(association=said.caller.association, rejection=rejection)
            case words.Ended():
                self._associations[number].discard(said.association)
                self._admission.ended(said.association)
            case words.Parcel():
                self._announce(said.received)
        return None

    def _admit(self, number: int, said: words.Admit) -> Rejection | None:
        node = self._nodes.get(said.store_node)
        if node is None:  # it has just gone
            return TEMPORARILY_NO_REASON_GIVEN
        rejection = self._admission.admit(node, said.caller)
        if rejection is None:
            self._associations[number].add(said.caller.association)
        return rejection

    def _ended(self, number: int) -> None:
        """Forget the associations of a process that is gone."""
        associations, self._associations[number] = self._associations[number], set()
        for association in associations:
            self._admission.ended(association)
