"""Stores files with STOW-RS: ``stow.py HOW URL LIST``, HOW being crossdock, httpx or httpx-streamed.

httpx is a loop that posts one instance per request over one kept connection, httpx-streamed the same
with a body that is streamed from the disk. Our adapter has checked the target before it is measured.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
from measured import Send, delivery, listed, measure


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


def main(how: str, url: str, names: str) -> None:
    """Store the files."""
    paths = listed(names)
    if how == "crossdock":
        send = delivery({"type": "dicomweb", "url": url, "timeout": 600}, paths)
    else:
        send = by_httpx(url, paths, whole=how == "httpx")
    measure(send)


if __name__ == "__main__":
    main(*sys.argv[1:])
