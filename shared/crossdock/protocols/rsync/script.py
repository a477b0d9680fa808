"""The script on the server that is run once for a finished delivery."""

import os
import posixpath
import selectors
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import IO

import structlog

from crossdock.config.targets import RsyncTarget
from crossdock.protocols.ssh import set_before
from crossdock.protocols.ssh.openssh import OpenSsh
from crossdock.protocols.ssh.programs import plain_environment


log = structlog.get_logger(__name__)

_KEPT = 1000  # bytes of what the script says on either stream, from its end
_BLOCK = 4096
_LOST = 255  # what ssh ends with by itself


def script_path(target: RsyncTarget) -> str:
    """Return the script's path on the server."""
    return posixpath.join(target.base, target.script)


def destination(target: RsyncTarget, directories: Sequence[PurePosixPath]) -> str:
    """Return the directory that all of a delivery went to: the nearest that holds all of it."""
    common = posixpath.commonpath([str(each) for each in directories]) if directories else "."
    return posixpath.join(target.base, "" if common == "." else common).rstrip("/") or "/"


def run(target: RsyncTarget, connection: OpenSsh, folder: str) -> str:
    """Run the script with a folder and the target's name; return in words what came of it.

    Its output is what it says at its end, as far as that can be printed; what it says of errors
    comes last, for SSH does not keep the order of the two streams.
    """
    command = shlex.join([script_path(target), folder, target.name])
    began = time.monotonic()
    process = subprocess.Popen(
        [*connection.sharing(), command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=plain_environment(),
        start_new_session=True,
    )
    with set_before(process.stdout) as output, set_before(process.stderr) as errors:
        said = _read((output, errors), target.script_seconds)
        code = _ended(process, target.script_seconds - (time.monotonic() - began))
    _log(target, code, time.monotonic() - began)
    return f"{target.script} {_words(target, connection, code)}{_quoted(said)}"


def _words(target: RsyncTarget, connection: OpenSsh, code: int | None) -> str:
    if code is None:
        return f"was not waited for any longer after {target.script_seconds:g} s"
    if code == _LOST and connection.lost() is not None:
        return "was begun, but the connection was lost before it ended; it is not run again"
    return "ended with code 0" if code == 0 else f"failed with code {code}; it is not run again"


def _ended(process: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    """Return the exit code, None if it does not end in time."""
    try:
        return process.wait(max(0.1, seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _read(streams: Sequence[IO[bytes]], seconds: float) -> bytes:
    """Return the ends of what streams say until they are over, or the time is."""
    deadline = time.monotonic() + seconds
    said = dict.fromkeys((stream.fileno() for stream in streams), b"")
    with selectors.DefaultSelector() as selector:
        for stream in said:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for stream in (key.fd for key, _ in ready):
                block = os.read(stream, _BLOCK)
                said[stream] = (said[stream] + block)[-_KEPT:]
                if not block:
                    selector.unregister(stream)
    return b"".join(said.values())


def _quoted(said: bytes) -> str:
    text = said.decode("utf-8", "replace").strip()
    clean = "".join(c if c.isprintable() else " " for c in text)
    return f": {clean}" if clean else ""


def _log(target: RsyncTarget, code: int | None, seconds: float) -> None:
    tell = log.info if code == 0 else log.warning
    tell("script.ended", target=target.name, exit_code=code, seconds=round(seconds, 3))
