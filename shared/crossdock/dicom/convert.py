"""Has an instance written in another transfer syntax, by a process of its own.

Codecs are written in C, and what they are given comes from anywhere: one that crashes or never ends
costs the one instance, and not the process that sends. The other process (``conversion``) is started
when it is needed, converts one instance at a time, and ends after a minute without work.
"""

import atexit
import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog

from crossdock.dicom.dictionary import name_of_uid
from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from crossdock.errors import DicomError, SpoolError


log = structlog.get_logger(__name__)

UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""What everything can be converted to, the better one first."""

ENCODERS = {
    TRANSFER_SYNTAXES["jpeg-lossless"]: ("numpy", "gdcm"),
    TRANSFER_SYNTAXES["jpeg-ls-lossless"]: ("numpy", "jpeg_ls"),
    TRANSFER_SYNTAXES["jpeg-2000-lossless"]: ("numpy", "openjpeg", "pylibjpeg"),
    TRANSFER_SYNTAXES["rle-lossless"]: ("numpy",),
}
"""The compressed transfer syntaxes that can be converted to, and the packages that it takes."""

_LONGEST_SECONDS = 600.0
_LONGEST_ANSWER = 4096


class CannotConvert(DicomError):  # noqa: N818 — reads as what happened
    """An instance cannot be written in another transfer syntax; says why, without its content."""


class NoCodec(CannotConvert):
    """It could be, were the codec installed here."""


def missing_codec(transfer_syntax_uid: str) -> str:
    """Return in words that the codec to convert to a transfer syntax is missing, empty if it is not."""
    if all(find_spec(package) for package in ENCODERS.get(transfer_syntax_uid, ())):
        return ""
    return f"no codec for {name_of_uid(transfer_syntax_uid)}: install crossdock[codecs]"


@contextmanager
def converted(path: Path, transfer_syntax_uid: str) -> Iterator[tuple[Path, FileMeta]]:
    """Write a file's instance in one of ``UNCOMPRESSED`` or ``ENCODERS``; it lasts for the block.

    The file has no name in any directory, so that nothing is left of it however the process ends.
    UIDs stay as they are. Compressing loses nothing, which is proved by decoding it again.
    Decompressing makes colour images RGB.

    Raises:
        CannotConvert: it cannot be decoded or encoded.
        NoCodec: not without a package that is not installed.
        SpoolError: the file cannot be read, or there is no room for the other one.
    """
    with tempfile.TemporaryFile() as file:
        _converter.convert(path, transfer_syntax_uid, file.fileno())
        opened = Path(f"/proc/self/fd/{file.fileno()}")
        yield opened, read_file_meta(opened)


class _Converter:
    """The process that converts, and the way to ask it."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def convert(self, path: Path, transfer_syntax_uid: str, output: int) -> None:
        """See ``converted``; ``output`` is an open file."""
        request = json.dumps({"path": str(path), "to": transfer_syntax_uid}).encode()
        with self._one_at_a_time:
            answer = self._ask(request, output, again=self._process is not None)
        words = answer.get("words", "")
        match answer.get("result"):
            case "converted":
                return
            case "no codec":
                raise NoCodec(words)
            case "spool":
                raise SpoolError(f"cannot convert an instance: {words}")
            case _:
                raise CannotConvert(words)

    def _ask(self, request: bytes, output: int, *, again: bool) -> dict[str, Any]:
        """Return the answer to a request; ``again`` if the process may have ended before it came."""
        if self._process is not None and self._process.poll() is not None:
            self._stop()  # it was idle, or somebody ended it
        channel = self._socket or self._start()
        try:
            socket.send_fds(channel, [request], [output])
            data = channel.recv(_LONGEST_ANSWER)
        except TimeoutError:
            self._stop()
            return {"words": f"it took longer than {_LONGEST_SECONDS:g} s"}
        except OSError:
            data = b""
        if data:
            answer: dict[str, Any] = json.loads(data)
            return answer
        idle = self._stop() == 0
        if again and idle:
            return self._ask(request, output, again=False)
        log.error("converter.crashed")
        return {"words": "the codec crashed"}

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_LONGEST_SECONDS)
        with theirs:
            command = [sys.executable, "-m", "crossdock.dicom.conversion", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # codecs write there what they like
            )
        self._socket = ours
        return ours

    def close(self) -> None:
        """End the process. It ends by itself, too, when this one does."""
        self._stop()

    def _stop(self) -> int | None:
        """End the process, and return its exit code; None without one."""
        process, self._process = self._process, None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if process is None:
            return None
        try:
            return process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


_converter = _Converter()
atexit.register(_converter.close)
