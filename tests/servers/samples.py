"""Sample files: what pydicom ships, made complete where a sender needs it to be."""

import os
import random
from functools import cache
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from crossdock.dicom.part10 import FileMeta, read_file_meta


# One of each transfer syntax that there is a sample of.
NAMES = (
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "JPGExtended.dcm",
    "JPEG2000.dcm",
    "JPEG-lossy.dcm",
    "JPEGLSNearLossless_16.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
    "waveform_ecg.dcm",
)


@cache
def sample(name: str) -> Path:
    """Return the path of a sample."""
    found = get_testdata_file(name)
    assert isinstance(found, str)
    return Path(found)


def identified(name: str, directory: Path) -> Path:
    """Write a copy of a sample with the identifiers that an archive cannot do without."""
    ds = pydicom.dcmread(sample(name))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not ds.get(keyword):
            setattr(ds, keyword, UID("1.2.826.0.1.3680043.10.2"))
    ds.PatientID = ds.get("PatientID") or "1"
    directory.mkdir(parents=True, exist_ok=True)
    ds.save_as(directory / name)
    return directory / name


def dataset_of(path: Path) -> bytes:
    """Return the bytes of a file's dataset, as they lie there."""
    return path.read_bytes()[read_file_meta(path).dataset_offset :]


def write_instance(path: Path, size: int, number: int = 1) -> FileMeta:
    """Write a CT instance of its own UID with ``size`` bytes of pixel data, mostly a hole.

    Noise is at both of its ends, and around each 2 GiB.
    """
    ds = pydicom.dcmread(sample("CT_small.dcm"), stop_before_pixels=True)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(
        f"1.2.826.0.1.3680043.10.1.{number}"
    )
    ds.save_as(path)
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little"))
        start = file.tell()
        file.truncate(start + size)
        noise = random.Random(number).randbytes(min(size, 65536))
        for end in (len(noise), *range(2**31 + len(noise) // 2, size, 2**31), size):
            file.seek(start + end - len(noise))
            file.write(noise)
    return read_file_meta(path)


def padded(data: bytes) -> bytes:
    """Return a dataset as it is sent: of even length."""
    return data + b"\0" * (len(data) % 2)
