"""The files that the benchmarks send: generated, of three kinds, each instance with its own UID."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import UID


_PLACEHOLDER = "1.2.826.0.1.3680043.10.1490.1000000000"
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """``count`` CT instances with ``pixels`` bytes of pixel data each, noise or ``sparse`` zeros."""

    count: int
    pixels: int
    words: str
    sparse: bool = False


KINDS = {
    "A": Kind(1000, 512 * 512 * 2, "1000 × 0.5 MB"),
    "B": Kind(5000, 14_000, "5000 × 20 KB"),
    "C": Kind(3, 300_000_000, "3 × 300 MB"),
    "D": Kind(1, 2_000_000_000, "1 × 2 GB", sparse=True),
    "E": Kind(1, 1_000_000_000, "1 × 1 GB", sparse=True),
}
_QUICK = {"A": 100, "B": 500, "C": 1, "D": 1, "E": 1}


def generate(name: str, directory: Path, *, quick: bool = False) -> list[Path]:
    """Return the files of a kind, made in ``directory`` unless they are there already."""
    kind = KINDS[name]
    count = _QUICK[name] if quick else kind.count
    folder = directory / f"{name}{count}"
    files = [folder / f"{number:05}.dcm" for number in range(count)]
    done = folder / "complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        header = _header()
        for number, file in enumerate(files):
            _write(file, header, number, kind)
        done.touch()
    return files


def _header() -> bytes:
    """Return a CT file up to its pixel data, with a placeholder for the instance's UID."""
    found = get_testdata_file("CT_small.dcm")
    assert isinstance(found, str)
    ds = pydicom.dcmread(found, stop_before_pixels=True)
    ds.Rows = ds.Columns = 512
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(_PLACEHOLDER)
    buffer = pydicom.filebase.DicomBytesIO()
    ds.save_as(buffer)
    return bytes(buffer.getvalue())


def _write(file: Path, header: bytes, number: int, kind: Kind) -> None:
    uid = f"{_PLACEHOLDER[:-10]}{1_000_000_001 + number}"
    with file.open("wb") as out:
        out.write(header.replace(_PLACEHOLDER.encode(), uid.encode()))
        out.write(b"\xe0\x7f\x10\x00OW\0\0" + kind.pixels.to_bytes(4, "little"))
        if kind.sparse:
            out.truncate(out.tell() + kind.pixels)
        else:
            _write_noise(out, number, kind.pixels)


def _write_noise(out: BinaryIO, number: int, pixels: int) -> None:
    block = random.Random(number).randbytes(min(pixels, _BLOCK))  # noqa: S311 — noise, no secret
    out.writelines(block for _ in range(pixels // len(block)))
    out.write(block[: pixels % len(block)])
