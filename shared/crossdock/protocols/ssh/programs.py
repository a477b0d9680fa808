"""Programs of others that we run: found, in a plain environment, and listened to."""

import contextlib
import os
import re
import shutil
import threading
import time
from collections import deque
from typing import IO

from crossdock.protocols.ssh.failures import misconfigured


_KEPT_LINES = 200
_END_SECONDS = 5.0
_UNRELATED = re.compile(r"debug\d:|Warning: Permanently added|OpenSSH_|@@@|Transferred:|Bytes per")


class Said:
    """What a program says on standard error, read as it comes so that it never has to wait."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._changed = threading.Condition()
        self.over = False
        self._thread = threading.Thread(target=self._read, name="ssh", daemon=True)
        self._thread.start()

    def wait_for(self, sign: re.Pattern[str], seconds: float) -> str | None:
        """Return the part that matters of a line that comes within so many seconds, or None."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while (found := self.found(sign)) is None and not self.over:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            return found

    def found(self, sign: re.Pattern[str]) -> str | None:
        """Return the part that matters of a line that has come, or None."""
        matches = map(sign.search, list(self._lines))
        return next((match.group(match.lastindex or 0) for match in matches if match), None)

    def last_words(self) -> str:
        """Return the last thing said that is not about progress."""
        told = (line for line in reversed(list(self._lines)) if not _UNRELATED.match(line))
        return next(told, "")

    def close(self) -> None:
        """Wait until all has been read."""
        self._thread.join(_END_SECONDS)
        self._stream.close()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):  # closed while we read
            for line in self._stream:
                with self._changed:
                    self._lines.append(_printable(line.decode("utf-8", "replace")))
                    self._changed.notify_all()
        with self._changed:
            self.over = True
            self._changed.notify_all()


def program_named(name: str) -> str:
    """Return the path of a program on this machine.

    Raises:
        TargetFailed: there is none.
    """
    found = shutil.which(name)
    if found is None:
        advice = "install it on the machine or in the image of dispatcher and tester"
        raise misconfigured(f"the program {name} is not installed here", advice)
    return found


def plain_environment() -> dict[str, str]:
    """Return an environment without anything that changes what ssh or rsync do."""
    kept = ("PATH", "HOME", "TMPDIR")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return found | {"LC_ALL": "C"}


def _printable(text: str) -> str:
    return "".join(character for character in text.rstrip() if character.isprintable())[:500]
