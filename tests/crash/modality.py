"""A modality that sends with DCMTK, and sends again what got no success."""

import re
import subprocess
import threading
from collections import Counter
from pathlib import Path

from pydicom import dcmread

from servers import require
from servers.dcmtk import ENVIRONMENT


_PAUSE_SECONDS = 0.1
_FILE = re.compile(r"^I: Sending file: (.+)$")
_OFFERED = "I: Sending Store Request"
_SUCCESS = "I: Received Store Response (Success)"


class Modality(threading.Thread):
    """Sends files over one association after the other until each of them got its success.

    ``offered`` counts how often each SOP Instance UID was sent.
    """

    def __init__(self, port: int, files: list[Path]) -> None:
        super().__init__(daemon=True)
        self._left = {
            str(file): str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files
        }
        self._command = [
            require("storescu"), "-v", "-to", "5", "-ta", "10", "-td", "20",
            "-aec", "CROSSDOCK", "-aet", "CT1", "127.0.0.1", str(port),
        ]  # fmt: skip
        self._stopping = threading.Event()
        self.offered: Counter[str] = Counter()

    def run(self) -> None:
        while self._left and not self._stopping.is_set():
            self._send()
            if self._left:
                self._stopping.wait(_PAUSE_SECONDS)

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _send(self) -> None:
        said = subprocess.run(  # noqa: PLW1510 — what it says counts, and not how it ends
            [*self._command, *self._left],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        ).stderr
        file = ""
        for line in said.splitlines():
            if found := _FILE.match(line):
                file = found[1]
            elif line.startswith(_OFFERED):
                self.offered[self._left[file]] += 1
            elif line == _SUCCESS:
                del self._left[file]
