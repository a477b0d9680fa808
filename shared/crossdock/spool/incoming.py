"""Bytes that arrive: a file under ``incoming/`` until it is whole and, where wanted, synced."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from crossdock.faults import reached


_IOV_MAX = os.sysconf("SC_IOV_MAX")


class Arrival:
    """One instance while it arrives, begun by ``head``. End it with ``place`` or ``discard``.

    Raises:
        OSError: the file cannot be made; so do ``write`` and ``place`` when the disk is full.
    """

    def __init__(self, path: Path | str, head: bytes = b"") -> None:
        self._path = path
        self._head: list[memoryview | bytes] = [head] if head else []
        self._descriptor: int | None = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640
        )
        self.size = 0

    def write(self, chunks: Sequence[memoryview | bytes]) -> None:
        """Append the chunks, in order."""
        assert self._descriptor is not None, "written after its end"  # noqa: S101 — our own bug
        if self._head:
            chunks, self._head = [*self._head, *chunks], []
        for start in range(0, len(chunks), _IOV_MAX):
            self._write(chunks[start : start + _IOV_MAX])

    def _write(self, chunks: Sequence[memoryview | bytes]) -> None:
        wanted = sum(map(len, chunks))
        assert self._descriptor is not None  # noqa: S101 — checked by the caller
        written = os.writev(self._descriptor, chunks)
        self.size += written
        if written < wanted:
            self._write([memoryview(b"".join(chunks))[written:]])

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` of the bytes that arrived, from ``offset``."""
        assert self._descriptor is not None, "read after its end"  # noqa: S101 — our own bug
        return os.pread(self._descriptor, size, offset)

    def place(self, destination: Path | str, *, sync: bool = True) -> None:
        """Give the bytes their name in a parcel; with ``sync`` they are durable before.

        The name is not durable yet: that is for whoever owns the directory.

        Raises:
            OSError: they do not have it.
        """
        assert self._descriptor is not None, "placed after its end"  # noqa: S101 — our own bug
        if self._head:
            self.write(())
        if sync:
            os.fdatasync(self._descriptor)
            reached("receiver.synced")
        self._close()
        try:
            os.rename(self._path, destination)  # noqa: PTH104 — for a Path costs more than the call
        except OSError:
            with contextlib.suppress(OSError):
                Path(self._path).unlink()
            raise

    def discard(self) -> None:
        """Forget what arrived. Safe to call at any time; after ``place`` it does nothing."""
        if self._descriptor is not None:
            self._close()
            Path(self._path).unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
