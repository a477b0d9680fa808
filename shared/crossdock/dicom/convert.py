"""Writes an instance in an uncompressed transfer syntax, for peers that refuse the one it is in.

pydicom decodes; what it can decode depends on which of its codecs are installed. Memory is up
to twice that of the whole object, so only one conversion at a time runs in a process.
"""

import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from crossdock.errors import DicomError, SpoolError


UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""What can be converted to, the better one first."""

_WORD_SIZES = {"OW": 2, "OL": 4, "OF": 4, "OV": 8, "OD": 8}
_one_at_a_time = threading.Lock()


class CannotConvert(DicomError):  # noqa: N818 — reads as what happened
    """An instance cannot be written in another transfer syntax; says why, without its content."""


@contextmanager
def converted(path: Path, transfer_syntax_uid: str) -> Iterator[tuple[Path, FileMeta]]:
    """Write a file's instance in one of ``UNCOMPRESSED``, into a file that lasts for the block.

    The file has no name in any directory, so that nothing is left of it however the process ends.
    UIDs stay as they are. Colour images come out as RGB.

    Raises:
        CannotConvert: it cannot be decoded, or there is no codec for it here.
        SpoolError: the file cannot be read, or there is no room for the other one.
    """
    with tempfile.TemporaryFile() as file:
        with _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values, and nobody could act on them
            _convert(path, UID(transfer_syntax_uid), file)
        file.flush()
        opened = Path(f"/proc/self/fd/{file.fileno()}")
        yield opened, read_file_meta(opened)


def _convert(path: Path, to: UID, output: BinaryIO) -> None:
    try:
        ds = dcmread(path)
        syntax = UID(ds.file_meta.TransferSyntaxUID, validation_mode=0)
        _require_codec(syntax, ds)
        if syntax.is_encapsulated and "PixelData" in ds:
            ds.decompress(generate_instance_uid=False)
        if not syntax.is_little_endian:
            _swap(ds)
        ds.file_meta.TransferSyntaxUID = to
        dcmwrite(
            output,
            ds,
            implicit_vr=to.is_implicit_VR,
            little_endian=True,
            force_encoding=True,
        )
    except CannotConvert:
        raise
    except Exception as error:  # noqa: BLE001 — codecs raise anything on damaged data
        if isinstance(error, OSError) and error.errno is not None:
            raise SpoolError(f"cannot convert an instance: {error.strerror}") from None
        raise CannotConvert(f"its data cannot be decoded ({type(error).__name__})") from None


def _require_codec(syntax: UID, ds: Dataset) -> None:
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise CannotConvert("its transfer syntax is not one of the standard")
    if not syntax.is_encapsulated or "PixelData" not in ds:
        return
    try:
        missing = not get_decoder(syntax).is_available or not _has_numpy()
    except NotImplementedError:
        raise CannotConvert(f"{syntax.name} cannot be decoded") from None
    if missing:
        raise CannotConvert(f"no codec for {syntax.name}: install crossdock[codecs]")


def _has_numpy() -> bool:
    from pydicom import config  # noqa: PLC0415 — a value that is found out at import

    return bool(config.have_numpy)


def _swap(ds: Dataset) -> None:
    """Turn binary words from big to little endian; going over them decodes all other values."""
    for element in ds.iterall():
        size = _WORD_SIZES.get(element.VR, 1)
        if size > 1 and isinstance(element.value, bytes):
            element.value = _swapped(element, size)


def _swapped(element: DataElement, size: int) -> bytes:
    value = bytearray(element.value)
    whole = len(value) - len(value) % size
    for byte in range(size // 2):
        opposite = size - 1 - byte
        value[byte:whole:size], value[opposite:whole:size] = (
            value[opposite:whole:size],
            value[byte:whole:size],
        )
    return bytes(value)
