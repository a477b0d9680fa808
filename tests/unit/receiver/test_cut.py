"""Senders that go away in the middle, and what is left of them in the spool: nothing."""

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crossdock.config import parse_gateway
from crossdock.dicom import pdu
from crossdock.model import Parcel
from crossdock.settings import Reserve
from crossdock.spool import Spool
from crossdock.spool.room import Room
from fuzz.subjects import messages, requests
from ports import free_port
from receiver.admission import CountedAdmission
from receiver.parcels import Parcels
from receiver.serving import LocalServing
from receiver.store_nodes import StoreNodes
from waiting import until


class Receiver:
    """Store node, parcels and spool, without the processes around them."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool(root)
        self.spool.prepare()
        self.closed: queue.SimpleQueue[Parcel] = queue.SimpleQueue()
        self.parcels = Parcels(self.spool, self.closed.put)
        self.parcels.start()
        room = Room(root, Reserve(0, 0.0))
        serving = LocalServing(self.spool, self.parcels, room, CountedAdmission(room))
        self.nodes = StoreNodes(serving, room)
        self.port = free_port()
        node = {"name": "n", "ae_title": "GATE", "port": self.port, "accept": "any"}
        self.nodes.configure(parse_gateway({"store_nodes": [node]}), 1)

    def visible(self) -> list[str]:
        """Return every file of the spool, by its path within."""
        return [
            str(path.relative_to(self.spool.root))
            for path in self.spool.root.rglob("*")
            if path.is_file()
        ]

    def stop(self) -> None:
        self.nodes.stop(2.0)
        self.parcels.stop()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    running = Receiver(tmp_path / "spool")
    yield running
    running.stop()


def exchange(port: int, said: bytes) -> None:
    """Associate, say something, hang up, and read until the node does, too."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(requests()[0])
        assert sock.recv(65536)[:1] == b"\x02"
        with suppress(ConnectionError):
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass


def test_an_exchange_cut_at_any_byte_leaves_nothing_half_written(receiver: Receiver) -> None:
    said = messages()[0]
    whole = len(said) - len(pdu.encode_short(pdu.RELEASE_RQ))
    threads = threading.active_count()
    for length in range(0, whole, 3):
        exchange(receiver.port, said[:length])
    until(lambda: receiver.visible() == [])
    until(lambda: threading.active_count() <= threads)
    assert receiver.closed.empty()
    for length in range(whole, len(said) + 1):
        exchange(receiver.port, said[:length])
        parcel = receiver.closed.get(timeout=10)
        assert len(parcel.instances) == 1
        assert (receiver.spool.parcels / parcel.id / "1.dcm").stat().st_size > 900
    until(lambda: list(receiver.spool.incoming.iterdir()) == [])
    assert list(receiver.spool.opened.iterdir()) == []
