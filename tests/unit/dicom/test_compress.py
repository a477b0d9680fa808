"""Compressing without loss: pixels come back exactly, whatever they look like."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from crossdock.dicom import convert
from crossdock.dicom.convert import ENCODERS, CannotConvert, converted, missing_codec
from crossdock.dicom.uids import TRANSFER_SYNTAXES
from servers.dcmtk import run
from servers.samples import sample


if any(missing_codec(uid) for uid in ENCODERS):
    if os.environ.get("CI"):
        pytest.fail("CI must have crossdock[codecs]", pytrace=False)
    pytest.skip("crossdock[codecs] is not installed", allow_module_level=True)

import numpy as np
from pydicom.pixels import iter_pixels


TO = {name: uid for name, uid in TRANSFER_SYNTAXES.items() if uid in ENCODERS}
GREY, COLOUR = ("MONOCHROME2", "PALETTE COLOR"), ("RGB", "YBR_FULL")
DEPTHS = [(8, 8, 0), (8, 6, 0), (8, 8, 1), (16, 10, 0), (16, 12, 0), (16, 12, 1), (16, 16, 0), (16, 16, 1), (16, 8, 0)]  # fmt: skip


def image(
    path: Path,
    depth: tuple[int, int, int] = (16, 12, 0),
    interpretation: str = "MONOCHROME2",
    shape: tuple[int, ...] = (3, 33, 47),
    *,
    implicit: bool = False,
    planar: int = 0,
) -> Path:
    """Write frames of slopes with some noise, and with the darkest and the brightest value."""
    allocated, stored, signed = depth
    low = -(1 << stored - 1) if signed else 0
    samples = 3 if interpretation in COLOUR else 1
    frames, rows, columns = shape
    size = (*shape, samples)
    slope = np.indices(size).sum(axis=0) * 5
    noise = np.random.default_rng(stored).integers(0, 7, size)
    pixels = (low + (slope + noise) % (1 << stored)).astype(f"{'ui'[signed]}{allocated // 8}")
    pixels[:, 0, 0], pixels[:, 0, 1] = low, low + (1 << stored) - 1
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.7.4"), UID("1.2.3.4")
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", "Müller^愛"
    ds.NumberOfFrames, ds.Rows, ds.Columns, ds.SamplesPerPixel = frames, rows, columns, samples
    ds.PhotometricInterpretation = interpretation
    if samples > 1:
        ds.PlanarConfiguration = planar
        pixels = pixels.transpose(0, 3, 1, 2) if planar else pixels
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, stored - 1
    ds.PixelRepresentation = signed
    data = pixels.tobytes()
    ds.add_new(0x7FE00010, "OB" if allocated == 8 else "OW", data + b"\0" * (len(data) % 2))
    ds.add_new(0x7FE10010, "LO", "A PRIVATE CREATOR")
    ds.add_new(0xFFFCFFFC, "OB", b"padding!")
    ds.save_as(path, enforce_file_format=True)
    return path


def frames_of(path: Path) -> list[bytes]:
    ds = dcmread(path)
    every = range(ds.get("NumberOfFrames", 1))
    frames = iter_pixels(ds, raw=True, indices=every, correct_unused_bits=False)
    return [frame.tobytes() for frame in frames]


def compressed(path: Path, uid: str) -> list[bytes] | str:
    """Return the frames of a file after compressing it, or why that is not possible."""
    try:
        with converted(path, uid) as (other, meta):
            assert meta.transfer_syntax_uid == uid
            return frames_of(other)
    except CannotConvert as error:
        return str(error)


@pytest.mark.parametrize("name", TO)
@pytest.mark.parametrize("interpretation", GREY + COLOUR)
@pytest.mark.parametrize("depth", DEPTHS)
def test_pixels_come_back_exactly_or_the_conversion_says_no(
    tmp_path: Path, name: str, interpretation: str, depth: tuple[int, int, int]
) -> None:
    path = image(tmp_path / "image.dcm", depth, interpretation)
    found = compressed(path, TO[name])
    if isinstance(found, str):
        usual = interpretation in ("MONOCHROME2", "RGB") and not depth[2]
        assert "cannot hold" in found
        assert not usual or depth == (8, 6, 0)
    else:
        assert found == frames_of(path)


@pytest.mark.parametrize("name", TO)
@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("planar", [0, 1])
def test_all_else_stays_as_it_was(tmp_path: Path, name: str, implicit: bool, planar: int) -> None:
    path = image(tmp_path / "i.dcm", (8, 8, 0), "RGB", implicit=implicit, planar=planar)
    with converted(path, TO[name]) as (other, _):
        before, after = dcmread(path), dcmread(other)
    assert [element.tag for element in after] == [element.tag for element in before]
    changed = {element.keyword for element in before if after[element.tag] != element}
    assert changed <= {"PixelData", "PlanarConfiguration"}
    assert after["PixelData"].VR == "OB"
    assert after[0x7FE10010].value == "A PRIVATE CREATOR"


@pytest.mark.parametrize(
    ("name", "decoder"),
    [("jpeg-lossless", "dcmdjpeg"), ("jpeg-ls-lossless", "dcmdjpls"), ("rle-lossless", "dcmdrle")],
)
@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "RGB"])
def test_dcmtk_decodes_the_same_pixels(
    tmp_path: Path, name: str, decoder: str, interpretation: str
) -> None:
    depth = (8, 8, 0) if interpretation == "RGB" else (16, 12, 1 if name == "jpeg-lossless" else 0)
    path = image(tmp_path / "image.dcm", depth, interpretation)
    with converted(path, TO[name]) as (other, _):
        copy = tmp_path / "compressed.dcm"
        copy.write_bytes(other.read_bytes())
    done = run(decoder, copy, tmp_path / "plain.dcm")
    assert done.returncode == 0, done.stdout
    assert frames_of(tmp_path / "plain.dcm") == frames_of(path)


@pytest.mark.parametrize("name", TO)
def test_what_was_compressed_otherwise_is_compressed_anew(name: str) -> None:
    for source in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_bigendian.dcm"):
        with converted(sample(source), TO[name]) as (other, _):
            assert frames_of(other) == frames_of(sample("MR_small_implicit.dcm"))


def test_bits_above_those_that_are_stored_are_not_lost(tmp_path: Path) -> None:
    path = image(tmp_path / "image.dcm", (16, 12, 0))
    ds = dcmread(path)
    pixels = np.frombuffer(ds.PixelData, np.uint16) | 0x8000  # an overlay of olden times
    ds.PixelData = pixels.tobytes()
    ds.save_as(path)
    for uid in TO.values():
        found = compressed(path, uid)
        assert found == frames_of(path) or "cannot hold" in found


def test_what_has_no_pixels_or_others_than_integers_says_so(tmp_path: Path) -> None:
    for name, words in (("reportsi.dcm", "no pixel data"), ("rtplan.dcm", "no pixel data")):
        with pytest.raises(CannotConvert, match=words), converted(sample(name), TO["rle-lossless"]):
            pass
    ds = dcmread(image(tmp_path / "float.dcm"))
    del ds.PixelData
    ds.FloatPixelData = bytes(16)
    ds.save_as(tmp_path / "float.dcm")
    with (
        pytest.raises(CannotConvert, match="no integers"),
        converted(tmp_path / "float.dcm", TO["rle-lossless"]),
    ):
        pass


@pytest.mark.parametrize("name", TO)
def test_frames_have_their_offsets_before_them(tmp_path: Path, name: str) -> None:
    path = image(tmp_path / "image.dcm", shape=(5, 40, 40))
    with converted(path, TO[name]) as (other, _):
        data = dcmread(other).PixelData
    offsets = [int.from_bytes(data[at : at + 4], "little") for at in range(8, 28, 4)]
    assert data[4:8] == (20).to_bytes(4, "little")
    assert all(data[28 + at : 32 + at] == b"\xfe\xff\x00\xe0" for at in offsets)


def test_a_codec_that_crashes_costs_one_instance(tmp_path: Path) -> None:
    """GDCM aborts its process on JPEG Lossless that leaves bits of a byte unused."""
    path = image(tmp_path / "image.dcm", (8, 8, 0))
    with converted(path, TO["jpeg-lossless"]) as (other, _):
        ds = dcmread(other)
    ds.BitsStored, ds.HighBit = 6, 5
    ds.save_as(tmp_path / "poison.dcm")
    with (
        pytest.raises(CannotConvert),
        converted(tmp_path / "poison.dcm", TRANSFER_SYNTAXES["explicit-vr-little-endian"]),
    ):
        pass
    with converted(path, TO["rle-lossless"]) as (other, _):
        assert frames_of(other) == frames_of(path)


def test_the_process_that_converts_may_be_killed_in_between(tmp_path: Path) -> None:
    path = image(tmp_path / "image.dcm")
    assert compressed(path, TO["rle-lossless"]) == frames_of(path)
    process = convert._converter._process  # noqa: SLF001 — nobody else knows it
    assert process is not None
    process.kill()
    process.wait(60)
    assert compressed(path, TO["rle-lossless"]) == frames_of(path)


CHILD = """
import resource, sys
from pathlib import Path
from pydicom.uid import UID
from crossdock.dicom.conversion import _convert
peaks = []
for path in sys.argv[3:]:
    with open(sys.argv[2], "w+b") as output:
        _convert(Path(path), UID(sys.argv[1]), output)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] - peaks[0])
"""


def test_compressing_takes_the_memory_of_a_few_frames(tmp_path: Path) -> None:
    small = image(tmp_path / "small.dcm", shape=(1, 512, 512))
    large = image(tmp_path / "large.dcm", shape=(1, 512, 512))
    ds = dcmread(large)
    ds.NumberOfFrames, ds.PixelData = 60, ds.PixelData * 60
    ds.save_as(large)
    files = (tmp_path / "out", small, large)
    command = [sys.executable, "-W", "ignore", "-c", CHILD, TO["jpeg-ls-lossless"], *files]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert int(done.stdout) < 12_000  # KB, of 31 MB
