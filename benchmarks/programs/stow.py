"""Stores files with STOW-RS: ``stow.py HOW URL LIST``, HOW being crossdock, httpx or httpx-streamed.

httpx is a loop that posts one instance per request over one kept connection, httpx-streamed the same
with a body that is streamed from the disk. It prints wall and CPU seconds from the first file on,
and the bytes of memory above those before, for a gateway does not start an interpreter for each
delivery.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from crossdock.config.snapshot import parse_object
from crossdock.dicom.part10 import read_file_meta
from crossdock.model import Instance
from crossdock.protocols import Outgoing, adapter_for


Send = Callable[[], None]

_HEAD = b"--bench\r\nContent-Type: application/dicom\r\n\r\n"
_TAIL = b"\r\n--bench--\r\n"
_BLOCK = 65536


def by_httpx(url: str, paths: list[Path], *, whole: bool) -> Send:
    """Return what posts the files one by one, as a script would."""
    client = httpx.Client(timeout=300.0)
    headers = {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=bench',
        "Accept": "application/dicom+json",
    }

    def blocks(path: Path) -> Iterator[bytes]:
        yield _HEAD
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
        yield _TAIL

    def send() -> None:
        for path in paths:
            content = _HEAD + path.read_bytes() + _TAIL if whole else blocks(path)
            length = str(path.stat().st_size + len(_HEAD) + len(_TAIL))
            answer = client.post(
                f"{url}/studies", content=content, headers={**headers, "Content-Length": length}
            )
            answer.raise_for_status()

    return send


def by_crossdock(url: str, paths: list[Path]) -> Send:
    """Return what sends the files as one delivery."""
    settings = {"name": "bench", "type": "dicomweb", "url": url, "timeout": 600}
    adapter = adapter_for(parse_object("targets", settings))  # type: ignore[arg-type]  # a target
    outgoing = [_outgoing(number, path) for number, path in enumerate(paths, 1)]
    if not adapter.check().green:
        raise SystemExit(adapter.check())

    def send() -> None:
        if not all([each.confirmed for each in adapter.send(outgoing)]):  # noqa: C419 — send all
            raise SystemExit("not all were stored")
        adapter.finish(outgoing)

    return send


def _outgoing(number: int, path: Path) -> Outgoing:
    meta = read_file_meta(path)
    instance = Instance(
        number=number,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=path.stat().st_size,
        calling_ae_title="BENCHMARK",
        called_ae_title="CROSSDOCK",
        address="127.0.0.1",
    )
    return Outgoing(instance, path)


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main(how: str, url: str, listed: str) -> None:
    """Store the files."""
    paths = [Path(line) for line in Path(listed).read_text().splitlines()]
    if how == "crossdock":
        send = by_crossdock(url, paths)
    else:
        send = by_httpx(url, paths, whole=how == "httpx")
    idle, before = _memory("VmRSS"), resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    send()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(seconds, used, _memory("VmHWM") - idle)


if __name__ == "__main__":
    main(*sys.argv[1:])
