"""Compresses the pixels of an instance without loss, frame by frame (PS3.5 8.2, A.4).

Memory is that of a few frames. Each frame is decoded again and compared before anybody gets it.
"""

from collections.abc import Iterator
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final

import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from crossdock.dicom.convert import CannotConvert
from crossdock.dicom.uids import TRANSFER_SYNTAXES


_JPEG_LOSSLESS: Final = UID(TRANSFER_SYNTAXES["jpeg-lossless"])
_RLE: Final = UID(TRANSFER_SYNTAXES["rle-lossless"])

_PIXEL_DATA: Final = 0x7FE00010
_ENCAPSULATED_ONLY: Final = (0x7FE00001, 0x7FE00002, 0x7FE00003)  # of the frames as they were
_ITEM: Final = 0xFFFEE000
_UNDEFINED: Final = 0xFFFFFFFF
_LONGEST_OFFSET: Final = 2**32 - 1
_TAG = Struct("<HHI")
_PIXEL_HEADER = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def compress(path: Path, to: UID, output: BinaryIO) -> None:
    """Write a file's instance in a compressed transfer syntax to an empty file.

    Raises:
        CannotConvert: there are no pixels, or none that can be written in it exactly.
    """
    with path.open("rb") as file:
        source = _Source(file)
        frames = source.frames()
        first, properties = next(frames)
        _write_header(source.ds, properties, to, output)
        digests = _write_frames(first, frames, source.ds, to, output)
        source.write_rest(output)
    output.seek(0)
    if [_digest(frame) for frame, _ in _Source(output).frames()] != digests:
        raise CannotConvert(f"{to.name} cannot hold its pixels exactly")


class _Source:
    """The pixels of a file, read where they are wanted."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.ds: Dataset = dcmread(file, stop_before_pixels=True)
        self._syntax = UID(self.ds.file_meta.TransferSyntaxUID)
        head = file.read(_TAG.size)
        if len(head) < _TAG.size:
            raise CannotConvert("it has no pixel data")
        group, element, length = _TAG.unpack(head)
        self._vr = "OW"
        if not self._syntax.is_implicit_VR:
            self._vr = head[4:6].decode("ascii", "replace")
            length = int.from_bytes(file.read(4), "little")
        if group << 16 | element != _PIXEL_DATA:
            raise CannotConvert("its pixels are no integers")
        self._start, self._length = file.tell(), length

    def frames(self) -> Iterator[tuple[np.ndarray[Any, Any], dict[str, str | int]]]:
        """Yield each frame, its samples as they are, and what it is."""
        if self.ds.get("BitsAllocated") not in (8, 16):
            raise CannotConvert(f"it has {self.ds.get('BitsAllocated')} bits for each sample")
        options = as_pixel_options(
            self.ds,
            pixel_keyword="PixelData",
            pixel_vr=self._vr,
            transfer_syntax_uid=self._syntax,
            correct_unused_bits=False,  # an overlay may lie there
        )
        self._file.seek(self._start)
        # Without indices pydicom fails on signed JPEG-LS: it corrects a view that is read-only.
        indices = range(_count(self.ds))
        decoder = get_decoder(self._syntax)
        yield from decoder.iter_array(self._file, indices=indices, raw=True, **options)

    def write_rest(self, output: BinaryIO) -> None:
        """Write the elements behind the pixels."""
        self._file.seek(self._start)
        if self._length == _UNDEFINED:
            self._skip_fragments()
        else:
            self._file.seek(self._length, 1)
        rest = read_dataset(self._file, self._syntax.is_implicit_VR, is_little_endian=True)
        target = DicomFileLike(output)
        target.is_little_endian, target.is_implicit_VR = True, False
        write_dataset(target, rest)

    def _skip_fragments(self) -> None:
        while len(head := self._file.read(_TAG.size)) == _TAG.size:
            group, element, length = _TAG.unpack(head)
            if group << 16 | element != _ITEM:
                return
            self._file.seek(length, 1)


def _count(ds: Dataset) -> int:
    """Return how many frames there are."""
    return int(ds.get("NumberOfFrames") or 1)


def _write_header(ds: Dataset, properties: dict[str, str | int], to: UID, output: BinaryIO) -> None:
    """Write all that comes before the pixels, as it will be true of them."""
    ds.PhotometricInterpretation = properties["photometric_interpretation"]
    if ds.SamplesPerPixel > 1:
        ds.PlanarConfiguration = int(to == _RLE)
    for tag in _ENCAPSULATED_ONLY:
        ds.pop(tag, None)
    ds.file_meta.TransferSyntaxUID = to
    dcmwrite(output, ds, implicit_vr=False, little_endian=True, force_encoding=True)


def _write_frames(
    first: np.ndarray[Any, Any],
    others: Iterator[tuple[np.ndarray[Any, Any], Any]],
    ds: Dataset,
    to: UID,
    output: BinaryIO,
) -> list[bytes]:
    """Write the frames with their offsets before them; return their digests."""
    count = _count(ds)
    offsets, digests = [0], [_digest(first)]
    room = 4 * count if count * first.nbytes < _LONGEST_OFFSET // 2 else 0
    output.write(_PIXEL_HEADER + _TAG.pack(0xFFFE, 0xE000, room))
    table = output.tell()
    output.write(bytes(room))
    start = output.tell()
    _write_item(_encoded(first, ds, to), output)
    for frame, _ in others:
        offsets.append(output.tell() - start)
        digests.append(_digest(frame))
        _write_item(_encoded(frame, ds, to), output)
    output.write(_END)
    if room:
        output.seek(table)
        output.write(b"".join(offset.to_bytes(4, "little") for offset in offsets))
        output.seek(0, 2)
    return digests


def _write_item(data: bytes, output: BinaryIO) -> None:
    data += b"\0" * (len(data) % 2)
    output.write(_TAG.pack(0xFFFE, 0xE000, len(data)) + data)


def _encoded(frame: np.ndarray[Any, Any], ds: Dataset, to: UID) -> bytes:
    options = as_pixel_options(ds, number_of_frames=1, transfer_syntax_uid=to)
    if to == _RLE:
        options["bits_stored"] = options["bits_allocated"]  # RLE keeps every bit that there is
    options["planar_configuration"] = 0  # of the frame as it is given
    try:
        if to == _JPEG_LOSSLESS:
            return _jpeg_lossless(frame, options)
        plugin = "pydicom" if to == _RLE else ""  # GDCM's aborts the process on some sizes
        return bytes(get_encoder(to).encode(frame, encoding_plugin=plugin, **options))
    except (ValueError, RuntimeError):
        raise CannotConvert(f"{to.name} cannot hold this kind of pixels") from None


def _jpeg_lossless(frame: np.ndarray[Any, Any], options: dict[str, Any]) -> bytes:
    """Return a frame in JPEG Lossless, first-order prediction, by GDCM (PS3.5 A.4.1)."""
    gdcm: Any = import_module("gdcm")  # only for this one
    allocated, stored = options["bits_allocated"], options["bits_stored"]
    if allocated == 8 and stored != 8:  # noqa: PLR2004 — GDCM's decoder aborts the process on these
        raise ValueError("unused bits in a byte")
    writer = gdcm.ImageWriter()  # has to stay as long as its image
    image = writer.GetImage()
    data, frames = frame.tobytes(), 1
    if len(data) % 2:  # GDCM wants an even length, so it gets two frames, of which one is used
        data, frames = data * 2, 2
    image.SetNumberOfDimensions(3)
    image.SetDimensions((options["columns"], options["rows"], frames))
    interpretation = gdcm.PhotometricInterpretation
    image.SetPhotometricInterpretation(
        interpretation(interpretation.GetPIType(options["photometric_interpretation"]))
    )
    syntax = gdcm.TransferSyntax
    image.SetTransferSyntax(syntax(syntax.ImplicitVRLittleEndian))
    samples, signed = options["samples_per_pixel"], options["pixel_representation"]
    image.SetPixelFormat(gdcm.PixelFormat(samples, allocated, stored, stored - 1, signed))
    if samples > 1:
        image.SetPlanarConfiguration(0)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(data)
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(syntax(syntax.JPEGLosslessProcess14_1))
    change.SetInput(image)
    if not change.Change():
        raise ValueError("GDCM cannot encode this")
    fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    buffer: str = fragments.GetFragment(0).GetByteValue().GetBuffer()
    return buffer.encode("utf-8", "surrogateescape")


def _digest(frame: np.ndarray[Any, Any]) -> bytes:
    shape = f"{frame.shape}{frame.dtype.str}".encode()
    return blake2b(shape + frame.tobytes(), digest_size=16).digest()
