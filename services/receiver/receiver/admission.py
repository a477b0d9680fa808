"""Who may send to a store node now: for good or for the moment (PS3.8 9.3.4).

What a sender has to mend is refused for good. What passes by itself, a full spool or too many
associations, is refused for the moment, so that the sender tries again.
"""

import threading
from typing import Protocol

from prometheus_client import Gauge

from crossdock.config import StoreNode
from crossdock.config.store_nodes import Source
from crossdock.dicom.storage_scp import (
    CALLED_AE_TITLE_NOT_RECOGNISED,
    CALLING_AE_TITLE_NOT_RECOGNISED,
    LOCAL_LIMIT_EXCEEDED,
    TEMPORARY_CONGESTION,
    Caller,
    Rejection,
)
from crossdock.spool.room import Room


OPEN = Gauge("crossdock_associations_open", "Associations that a store node has.", ["store_node"])

ANYBODY = Source.model_construct()
"""The source of a node that accepts any."""


class Admission(Protocol):
    """Decides who may send; called from many threads."""

    def admit(self, node: StoreNode, caller: Caller) -> Rejection | None:
        """Admit a caller and return None, or return why not.

        Raises:
            OSError: nobody can say.
        """

    def ended(self, association: str) -> None:
        """Take note that an association is over, whether it was admitted or not."""


class CountedAdmission:
    """Decides by counting the associations of all store nodes."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._admitted: dict[str, tuple[str, Source]] = {}

    def admit(self, node: StoreNode, caller: Caller) -> Rejection | None:
        """Admit a caller and return None, or return why not."""
        if node.check_called_ae_title and caller.called_ae_title != node.ae_title:
            return CALLED_AE_TITLE_NOT_RECOGNISED
        source = source_of(node, caller)
        if source is None:
            return CALLING_AE_TITLE_NOT_RECOGNISED
        if self._room.problem() is not None:
            return TEMPORARY_CONGESTION
        with self._lock:
            if self._is_full(node, source):
                return LOCAL_LIMIT_EXCEEDED
            self._admitted[caller.association] = node.name, source
            OPEN.labels(node.name).inc()
        return None

    def ended(self, association: str) -> None:
        """Take note that an association is over, whether it was admitted or not."""
        with self._lock:
            node, _ = self._admitted.pop(association, (None, ANYBODY))
            if node is not None:
                OPEN.labels(node).dec()

    def _is_full(self, node: StoreNode, source: Source) -> bool:
        sources = [source for name, source in self._admitted.values() if name == node.name]
        if len(sources) >= node.max_associations:
            return True
        limit = source.max_associations
        return limit is not None and sources.count(source) >= limit


def source_of(node: StoreNode, caller: Caller) -> Source | None:
    """Return which of a node's sources a caller is, the first that fits; None if it is nobody."""
    if node.accept == "any":
        return ANYBODY
    for source in node.sources:
        if source.matches(caller.calling_ae_title, caller.address, caller.certificate):
            return source
    return None
