"""A disk that fails where a test says so, for programs that are started with it."""

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import require
from waiting import until


class FailingDisk:
    """Compiles the shim; ``environment`` is what a program must be started with."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._control = directory / "control"
        self._hits = directory / "control.hits"
        shim = directory / "failing_disk.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(
            [require("gcc"), "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True
        )
        self.environment = {"LD_PRELOAD": str(shim), "FAILING_DISK": str(self._control)}

    @contextmanager
    def failing(self, call: str, error: int, part: str) -> Iterator[None]:
        """Let a call fail for files with ``part`` in their path, and prove that it did."""
        before = self.hits()
        temporary = self._control.with_suffix(".new")
        temporary.write_text(f"{call} {error} {part}")
        temporary.rename(self._control)
        try:
            yield
            words = f"{call} fails with {errno.errorcode[error]} below {part}"
            until(lambda: self.hits() > before, what=words)
        finally:
            self._control.unlink()

    def hits(self) -> int:
        """Return how often anything failed."""
        return self._hits.stat().st_size if self._hits.exists() else 0
