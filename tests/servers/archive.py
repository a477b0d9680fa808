"""An archive of our own that commits itself: pynetdicom, which knows nothing of our upper layer."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made when it is imported
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)


NOT_THERE = 0x0112


class Archive:
    """Stores, and reports on requests as told.

    ``fails`` says which SOP Instance UIDs are not committed; ``over`` is what reports come over.
    """

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.asked: list[tuple[str, list[str]]] = []
        self.answers: list[int] = []
        self.fails: Callable[[str], bool] = lambda _uid: False
        self.over = "same"  # same, none
        self.status = 0x0000
        self.port = 0
        self._lock = threading.Lock()

    def handlers(self) -> list[tuple[Any, ...]]:
        return [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]

    def _store(self, event: Any) -> int:
        with self._lock:
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _action(self, event: Any) -> tuple[int, None]:
        said = event.action_information
        uids = [str(item.ReferencedSOPInstanceUID) for item in said.ReferencedSOPSequence]
        with self._lock:
            self.asked.append((str(said.TransactionUID), uids))
        if self.over == "same" and not self.status:
            report = self.report(*self.asked[-1])
            threading.Thread(target=self._answer, args=(event.assoc, *report), daemon=True).start()
        return self.status, None

    def _answer(self, assoc: Any, event_type: int, dataset: Dataset) -> None:
        # Told to the association's own thread by pynetdicom once the request is answered.
        answer, _ = assoc.send_n_event_report(
            dataset,
            event_type,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        self.answers.append(int(getattr(answer, "Status", -1)))

    def report(self, transaction: str, uids: list[str]) -> tuple[int, Dataset]:
        """The event type and dataset of what is to be reported."""
        ds = Dataset()
        ds.TransactionUID = transaction
        failed = [uid for uid in uids if self.fails(uid)]
        kept = [uid for uid in uids if uid not in failed]
        if kept:
            ds.ReferencedSOPSequence = Sequence([_item(uid) for uid in kept])
        if failed:
            ds.FailedSOPSequence = Sequence([_item(uid, NOT_THERE) for uid in failed])
        return (2 if failed else 1), ds

    def tell(self, port: int, called: str, transaction: str, uids: list[str]) -> int:
        """Report over an association of its own, as the service's provider; return the status."""
        event_type, ds = self.report(transaction, uids)
        return tell(port, called, event_type, ds)


def tell(port: int, called: str, event_type: int, ds: Dataset, *, calling: str = "PEER") -> int:
    """Report a dataset over an association to a port; return the status of the answer."""
    ae = AE(ae_title=calling)
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    assoc = ae.associate("127.0.0.1", port, ae_title=called, ext_neg=[role])
    assert assoc.is_established
    try:
        answer, _ = assoc.send_n_event_report(
            ds, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        return int(answer.Status)
    finally:
        assoc.release()


def _item(uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    if reason is not None:
        item.FailureReason = reason
    return item


@contextmanager
def archiving(
    archive: Archive,
    *,
    commits: bool = True,
    associations: int = 10,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Archive]:
    """Run an archive on a free port, as AE title PEER."""
    ae = AE(ae_title="PEER")
    ae.maximum_associations = associations
    ae.add_supported_context(CTImageStorage)
    ae.add_supported_context("1.2.840.10008.1.1")
    if commits:
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=archive.handlers(), ssl_context=tls
    )
    assert server is not None
    archive.port = int(server.server_address[1])
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
