"""What is asked and answered about storage commitment, where every service can see it.

::

    commitments/asked/<transaction>      a delivery asked its target; who, so that the result finds it
    commitments/reported/<transaction>   what the target reported, until the delivery has read it

A result comes to whichever process the target opened its association to, and the delivery is in
another one. Files are durable before anything is answered.
"""

import json
import uuid
from collections.abc import Iterable
from pathlib import Path

from crossdock.dicom.commitment import Reference, Report
from crossdock.dicom.uids import looks_like_uid
from crossdock.errors import SpoolError
from crossdock.model import Frozen
from crossdock.spool.durable import write_file


class Asked(Frozen):
    """The delivery that a transaction belongs to."""

    parcel: str
    target: str
    at: float


class Commitments:
    """The transactions of a spool, of all targets together."""

    def __init__(self, spool: Path) -> None:
        self._asked = spool / "commitments" / "asked"
        self._reported = spool / "commitments" / "reported"

    def begin(self, asked: Asked) -> str:
        """Note that a target is about to be asked; return the new Transaction UID.

        Raises:
            OSError: that cannot be made durable.
        """
        transaction = f"2.25.{uuid.uuid4().int}"
        self._asked.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_file(self._asked / transaction, asked.model_dump_json().encode())
        return transaction

    def asked(self) -> list[str]:
        """Return the transactions of deliveries that are not concluded."""
        return _names(self._asked)

    def delivery(self, transaction: str) -> Asked | None:
        """Return who asked, None if nobody did or does not care any more."""
        if not looks_like_uid(transaction):  # so that it is no path either
            return None
        try:
            return Asked.model_validate_json((self._asked / transaction).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def keep(self, report: Report) -> bool:
        """Make a report durable for the delivery that asked; False if there is none.

        Raises:
            OSError: it cannot be made durable.
        """
        if self.delivery(report.transaction_uid) is None:
            return False
        self._reported.mkdir(mode=0o750, parents=True, exist_ok=True)
        content = {"committed": report.committed, "failed": report.failed}
        write_file(self._reported / report.transaction_uid, json.dumps(content).encode())
        return True

    def reported(self) -> list[str]:
        """Return the transactions whose report nobody has read yet."""
        return _names(self._reported)

    def has_report(self, transaction: str) -> bool:
        """Whether there is a report that nobody has read yet."""
        return (self._reported / transaction).exists()

    def report(self, transaction: str) -> Report | None:
        """Return what was reported, None if nothing was.

        Raises:
            SpoolError: the file is damaged.
        """
        path = self._reported / transaction
        try:
            said = json.loads(path.read_bytes())
            committed = tuple(Reference(*each) for each in said["committed"])
            failed = tuple((Reference(*each), int(reason)) for each, reason in said["failed"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            raise SpoolError(f"{path}: damaged") from None
        return Report(transaction, committed, failed)

    def read(self, transaction: str) -> None:
        """Forget a report that is in its delivery's journal by now."""
        (self._reported / transaction).unlink(missing_ok=True)

    def forget(self, transactions: Iterable[str]) -> None:
        """Forget transactions: results that still come are not ours any more."""
        for transaction in transactions:
            (self._asked / transaction).unlink(missing_ok=True)
            self.read(transaction)


def _names(directory: Path) -> list[str]:
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    return [name for name in names if not name.startswith(".")]
