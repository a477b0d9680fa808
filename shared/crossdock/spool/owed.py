"""Requests for storage commitment that senders made, until they have taken the result.

A file each, below ``commitments/owed/``, which is durable before a request is answered.
"""

import hashlib
from pathlib import Path

from crossdock.dicom.commitment import Reference, Report
from crossdock.model import Frozen
from crossdock.spool.durable import write_file


MAX_OWED = 500
"""Results that one address can be owed: bounds what somebody fills the disk with by asking."""


class Owed(Frozen):
    """What was asked, by whom, and what there is to say about it, to ``host`` and ``port``.

    ``targets`` must have confirmed each instance, or it is failed at ``until`` (a Unix time).
    ``committed`` and ``failed`` are the result once ``decided``; from then on it does not change.
    """

    transaction_uid: str
    store_node: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    host: str
    port: int
    targets: int
    at: float
    until: float
    references: tuple[tuple[str, str], ...]
    decided: bool = False
    committed: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str, int], ...] = ()

    @property
    def key(self) -> str:
        """Its name among all that is owed."""
        return key_of(self.address, self.calling_ae_title, self.transaction_uid)

    def report(self) -> Report:
        """Return the result as it is reported."""
        return Report(
            self.transaction_uid,
            tuple(Reference(*each) for each in self.committed),
            tuple((Reference(uid, instance), reason) for uid, instance, reason in self.failed),
        )

    def decide(self, report: Report) -> "Owed":
        """Return it with its result."""
        failed = tuple((*reference, reason) for reference, reason in report.failed)
        changes = {"decided": True, "committed": report.committed, "failed": failed}
        return self.model_copy(update=changes)


class OwedReports:
    """The results that are owed to senders, of all store nodes together."""

    def __init__(self, spool: Path) -> None:
        self._directory = spool / "commitments" / "owed"

    def full(self, address: str) -> bool:
        """Whether an address is owed as many results as there may be."""
        prefix = _requester(address)
        return sum(name.startswith(prefix) for name in self.keys()) >= MAX_OWED

    def put(self, owed: Owed) -> None:
        """Make a request or its result durable; one of the same transaction is replaced.

        Raises:
            OSError: it cannot be made durable.
        """
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_file(self._directory / owed.key, owed.model_dump_json().encode())

    def keys(self) -> list[str]:
        """Return the names of all that is owed."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith("."))

    def get(self, key: str) -> Owed | None:
        """Return what is owed under a name, None if it is not any more, or cannot be read."""
        try:
            return Owed.model_validate_json((self._directory / key).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def remove(self, key: str) -> None:
        """Owe it no longer."""
        (self._directory / key).unlink(missing_ok=True)


def key_of(address: str, calling_ae_title: str, transaction_uid: str) -> str:
    """Return the name of a request: who asked, and the transaction, whatever they are made of."""
    return f"{_requester(address)}-{_digest(calling_ae_title, transaction_uid)}"


def _requester(address: str) -> str:
    return _digest(address)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
