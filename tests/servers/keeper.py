"""A storage handler that keeps in memory what our own SCP receives, and fails when told to."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from crossdock.dicom.storage_scp import Caller, Rejection, StorageScp


@dataclass
class Kept:
    """One instance as it arrived."""

    caller: Caller
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytearray = field(default_factory=bytearray)
    state: str = "open"
    keeper: "Keeper | None" = None

    def write(self, chunks: Sequence[memoryview]) -> None:
        for chunk in chunks:
            self.data += chunk
        if self.keeper is not None:
            self.keeper.on_write()

    def commit(self) -> int:
        status = self.keeper.on_commit() if self.keeper is not None else 0
        self.state = "committed"
        return status

    def discard(self) -> None:
        self.state = "discarded"


class Keeper:
    """Keeps instances; ``on_…`` may be replaced to fail or to wait there."""

    def __init__(self) -> None:
        self.instances: list[Kept] = []
        self.admitted: list[Caller] = []
        self.over: list[Caller] = []
        self.rejection: Rejection | None = None
        self.on_begin: Callable[[], object] = lambda: None
        self.on_write: Callable[[], object] = lambda: None
        self.on_commit: Callable[[], int] = lambda: 0
        self._lock = threading.Lock()

    def admit(self, caller: Caller) -> Rejection | None:
        if self.rejection is None:
            with self._lock:
                self.admitted.append(caller)
        return self.rejection

    def begin(
        self, caller: Caller, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> Kept:
        self.on_begin()
        kept = Kept(caller, sop_class_uid, sop_instance_uid, transfer_syntax_uid, keeper=self)
        with self._lock:
            self.instances.append(kept)
        return kept

    def ended(self, caller: Caller) -> None:
        with self._lock:
            self.over.append(caller)

    @property
    def committed(self) -> dict[str, bytes]:
        """Dataset bytes by SOP instance UID."""
        return {
            kept.sop_instance_uid: bytes(kept.data)
            for kept in self.instances
            if kept.state == "committed"
        }

    @property
    def balanced(self) -> bool:
        """Whether every admitted association has ended, and each once."""
        return sorted(map(_id, self.admitted)) == sorted(map(_id, self.over))


@contextmanager
def keeping(keeper: Keeper, *, host: str = "127.0.0.1", **options: Any) -> Iterator[StorageScp]:
    """Run our SCP with a keeper on a free port."""
    scp = StorageScp(host, 0, keeper, **options)
    scp.start()
    try:
        yield scp
    finally:
        scp.stop()


def _id(caller: Caller) -> str:
    return caller.association
