"""The process that converts for ``convert``: one request after the other over a socket.

A request is a path and a transfer syntax, with the open file to write to. Converting to an
uncompressed transfer syntax takes up to twice the memory of the object, compressing that of a few
frames.
"""

import json
import os
import resource
import signal
import socket
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from crossdock.dicom.convert import ENCODERS, CannotConvert, NoCodec, missing_codec
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
)


_IDLE_SECONDS = 60.0
_LONGEST_REQUEST = 16 * 1024
_WORD_SIZES = {"OW": 2, "OL": 4, "OF": 4, "OV": 8, "OD": 8}


def serve(channel: socket.socket) -> None:
    """Convert until the other side closes, or there was no work for a minute."""
    channel.settimeout(_IDLE_SECONDS)
    with suppress(TimeoutError, OSError):
        while True:
            data, files, _, _ = socket.recv_fds(channel, _LONGEST_REQUEST, 1)
            if not data:
                return
            request = json.loads(data)
            with os.fdopen(files[0], "w+b") as output:
                answer = _answer(Path(request["path"]), request["to"], output)
            channel.send(json.dumps(answer).encode())


def _answer(path: Path, to: str, output: BinaryIO) -> dict[str, str]:
    try:
        _convert(path, UID(to), output)
        output.flush()
    except NoCodec as error:
        return {"result": "no codec", "words": str(error)}
    except ImportError:
        return {
            "result": "no codec",
            "words": "a codec cannot be loaded: install crossdock[codecs]",
        }
    except CannotConvert as error:
        return {"result": "impossible", "words": str(error)}
    except Exception as error:  # noqa: BLE001 — codecs raise anything on damaged data
        if isinstance(error, OSError) and error.errno is not None:
            return {"result": "spool", "words": str(error.strerror)}
        words = f"its data cannot be decoded ({type(error).__name__})"
        return {"result": "impossible", "words": words}
    return {"result": "converted"}


def _convert(path: Path, to: UID, output: BinaryIO) -> None:
    if to not in ENCODERS:
        _decompress(path, to, output)
        return
    missing = missing_codec(to)
    if missing:
        raise NoCodec(missing)
    from crossdock.dicom.compress import compress  # noqa: PLC0415 — it needs numpy

    syntax = read_file_meta(path).transfer_syntax_uid
    if syntax in (DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN):
        with tempfile.NamedTemporaryFile() as plain:
            _decompress(path, UID(EXPLICIT_VR_LITTLE_ENDIAN), plain.file)  # type: ignore[arg-type]  # it is one
            plain.flush()
            compress(Path(plain.name), to, output)
    else:
        _require_codec(UID(syntax, validation_mode=0), pixels=True)
        compress(path, to, output)


def _decompress(path: Path, to: UID, output: BinaryIO) -> None:
    ds = dcmread(path)
    syntax = UID(ds.file_meta.TransferSyntaxUID, validation_mode=0)
    _require_codec(syntax, pixels="PixelData" in ds)
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


def _require_codec(syntax: UID, *, pixels: bool) -> None:
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise CannotConvert("its transfer syntax is not one of the standard")
    if not syntax.is_encapsulated or not pixels:
        return
    try:
        missing = not get_decoder(syntax).is_available or not _has_numpy()
    except NotImplementedError:
        raise CannotConvert(f"{syntax.name} cannot be decoded") from None
    if missing:
        raise NoCodec(f"no codec for {syntax.name}: install crossdock[codecs]")


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


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would be an image of a patient
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the process that it works for
    warnings.simplefilter("ignore")  # they quote values, and nobody could act on them
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        serve(listening)
