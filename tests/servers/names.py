"""A name server that knows one host, and fails as a test says; and programs that ask only it."""

import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from servers import require


_SERVFAIL, _NXDOMAIN = 2, 3  # RFC 1035 4.1.1
_A = 1
_MOUNT = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


class Names:
    """A name server; ``program`` is what to put before a command that is to ask it and no other.

    ``mood`` is what happens to questions: they are answered, the server says that it ``fails`` or
    that there is no such host (``unknown``), or it is ``silent``. ``asked`` counts them. Only root
    may have the port of a name server: others get a ``PermissionError``.
    """

    def __init__(self, directory: Path) -> None:
        self.mood: Literal["answers", "fails", "unknown", "silent"] = "answers"
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        address = f"127.53.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        try:
            self._socket.bind((address, 53))
        except PermissionError:
            self._socket.close()
            raise
        settings = directory / "resolv.conf"
        settings.write_text(f"nameserver {address}\noptions timeout:1 attempts:1\n")
        self.program = (require("unshare"), "--mount", "sh", "-c", _MOUNT, str(settings))
        self._thread = threading.Thread(target=self._serve, name="names")
        self._thread.start()

    def stop(self) -> None:
        """End."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(512)
            if not question:
                return
            self.asked += 1
            if self.mood != "silent":
                self._socket.sendto(self._answer(question), sender)

    def _answer(self, question: bytes) -> bytes:
        """Return an answer (RFC 1035 4.1): the question, and 127.0.0.1 if an address is asked for."""
        end = question.index(b"\0", 12) + 5
        asked = question[12:end]
        kind = struct.unpack_from(">H", asked, len(asked) - 4)[0]
        code = {"fails": _SERVFAIL, "unknown": _NXDOMAIN}.get(self.mood, 0)
        answers = int(not code and kind == _A)
        head = question[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, answers, 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, _A, 1, 0, 4) + socket.inet_aton("127.0.0.1")
        return head + asked + record * answers


@contextmanager
def names(directory: Path) -> Iterator[Names]:
    """Run a name server for as long as the block lasts."""
    running = Names(directory)
    try:
        yield running
    finally:
        running.stop()
