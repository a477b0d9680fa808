"""A store node in this process, on a free port, before a spool of the test's."""

from collections.abc import Iterator
from contextlib import contextmanager

from crossdock.config import parse_gateway
from crossdock.spool import Spool
from crossdock.spool.room import Reserve, Room
from ports import free_port
from receiver.admission import CountedAdmission
from receiver.parcels import Parcels
from receiver.serving import LocalServing
from receiver.store_nodes import StoreNodes


@contextmanager
def listening(spool: Spool, **settings: object) -> Iterator[int]:
    """Listen as AE title CROSSDOCK until the block ends; yield the port."""
    port = free_port()
    node = {"name": "main", "ae_title": "CROSSDOCK", "port": port, "host": "127.0.0.1"}
    who = {} if "sources" in settings else {"accept": "any"}
    room = Room(spool.root, Reserve(1, 1.0))
    parcels = Parcels(spool, lambda _: None)
    parcels.start()
    nodes = StoreNodes(LocalServing(spool, parcels, room, CountedAdmission(room)), room)
    nodes.start()
    nodes.configure(parse_gateway({"store_nodes": [node | who | settings]}), 1)
    assert nodes.problems() is None
    try:
        yield port
    finally:
        nodes.stop(5.0)
        parcels.stop()
