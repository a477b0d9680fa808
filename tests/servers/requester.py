"""A modality that asks for storage commitment: pynetdicom, which knows nothing of our upper layer."""

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when it is imported
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)


Named = tuple[str, str]


@dataclass
class Told:
    """A result: what is committed, and what is not with its reason; and what it came over."""

    transaction: str
    committed: list[str]
    failed: dict[str, int]
    event_type: int
    over: str


@dataclass
class Requester:
    """Stores and asks as AE title CT1; hears results over its own associations and at ``port``."""

    told: list[Told] = field(default_factory=list)
    port: int = 0
    status: int = 0x0000
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def associated(self, port: int, called: str = "CROSSDOCK") -> Iterator[Any]:
        """Have an association for storing and asking."""
        ae = AE(ae_title="CT1")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        ae.add_requested_context(StorageCommitmentPushModel)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._hear, ["own"])]
        assoc = ae.associate("127.0.0.1", port, ae_title=called, evt_handlers=handlers)
        assert assoc.is_established
        try:
            yield assoc
        finally:
            assoc.release()

    @contextmanager
    def listening(self, tls: ssl.SSLContext | None = None) -> Iterator[None]:
        """Hear results that come over associations of the gateway."""
        ae = AE(ae_title="CT1")
        ae.require_called_aet = True
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._hear, ["another"])]
        address = ("127.0.0.1", self.port)
        server = ae.start_server(address, block=False, evt_handlers=handlers, ssl_context=tls)
        assert server is not None
        self.port = int(server.server_address[1])
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()

    def _hear(self, event: Any, over: str) -> tuple[int, None]:
        said = event.event_information
        told = Told(
            str(said.TransactionUID),
            [str(each.ReferencedSOPInstanceUID) for each in said.get("ReferencedSOPSequence", [])],
            {
                str(each.ReferencedSOPInstanceUID): int(each.FailureReason)
                for each in said.get("FailedSOPSequence", [])
            },
            int(event.event_type),
            over,
        )
        with self._lock:
            self.told.append(told)
        return self.status, None


def store(assoc: Any, paths: Sequence[Path]) -> list[Named]:
    """Store files; return what they are."""
    stored = []
    for path in paths:
        ds = dcmread(path)
        assert assoc.send_c_store(ds).Status == 0x0000
        stored.append((str(ds.SOPClassUID), str(ds.SOPInstanceUID)))
    return stored


def ask(
    assoc: Any,
    references: Sequence[Named],
    *,
    transaction: str = "",
    action: int = 1,
    instance: str = StorageCommitmentPushModelInstance,
) -> tuple[int, str]:
    """Ask for commitment; return the status and the transaction."""
    ds = Dataset()
    ds.TransactionUID = transaction or generate_uid()
    items = []
    for sop_class, uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        items.append(item)
    ds.ReferencedSOPSequence = items
    return act(assoc, ds, action, instance), str(ds.TransactionUID)


def act(
    assoc: Any,
    ds: Dataset,
    action: int = 1,
    instance: str = StorageCommitmentPushModelInstance,
) -> int:
    """Send any dataset as a request; return the status."""
    status, _ = assoc.send_n_action(ds, action, StorageCommitmentPushModel, instance)
    return int(status.Status)


def accepts_commitment(port: int, *, scp: bool = False) -> bool:
    """Whether a node accepts the context of commitment, from who asks or from who would report."""
    ae = AE(ae_title="CT1")
    ae.add_requested_context(StorageCommitmentPushModel)
    ae.add_requested_context("1.2.840.10008.1.1")
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if scp else []
    assoc = ae.associate("127.0.0.1", port, ae_title="CROSSDOCK", ext_neg=roles)
    assert assoc.is_established
    accepted = {str(context.abstract_syntax) for context in assoc.accepted_contexts}
    assoc.release()
    return StorageCommitmentPushModel in accepted
