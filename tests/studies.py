"""Studies to send: made up, and from the samples that pydicom ships."""

import shutil
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from servers.samples import sample


PATIENT = "Zweistein^Phantomas"
PRIVATE_SOP_CLASS = "1.2.826.0.1.3680043.2.1143.107.104.103.115.999"


def make_ct(
    directory: Path, count: int, *, study: str = "", description: str = "CHEST", size: int = 2000
) -> list[Path]:
    """Write one CT series of ``count`` instances with ``size`` bytes of pixels each."""
    directory.mkdir(parents=True, exist_ok=True)
    study, series = study or generate_uid(), generate_uid()
    paths = []
    for number in range(1, count + 1):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.PatientName, ds.PatientID = PATIENT, "SECRET-ID"
        ds.Modality, ds.StudyDescription = "CT", description
        ds.InstanceNumber = number
        ds.add_new((0x7FE0, 0x0010), "OW", bytes([number % 256]) * size)
        path = directory / f"{number:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def make_mixed(directory: Path) -> list[Path]:
    """Write a mixed study: CT, MR, a JPEG 2000 object, an SR, and a private SOP class."""
    paths = make_ct(directory / "ct", 3)
    for name in ("MR_small.dcm", "JPEG2000.dcm", "reportsi.dcm"):
        paths.append(Path(shutil.copy(sample(name), directory)))
    private = dcmread(paths[0])
    private.SOPClassUID = private.file_meta.MediaStorageSOPClassUID = PRIVATE_SOP_CLASS
    private.SOPInstanceUID = private.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    private.SeriesInstanceUID = generate_uid()
    private.Modality = "OT"
    private.save_as(directory / "private.dcm", enforce_file_format=True)
    return [*paths, directory / "private.dcm"]


def dataset_bytes(path: Path) -> bytes:
    """Return what follows the file meta information, byte by byte."""
    content = path.read_bytes()
    assert content[128:132] == b"DICM", path
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


def by_uid(paths: list[Path]) -> dict[str, bytes]:
    """Return the dataset bytes of each file by its SOP Instance UID; each UID must be there once."""
    found: dict[str, bytes] = {}
    for path in paths:
        uid = str(dcmread(path, stop_before_pixels=True, force=True).SOPInstanceUID)
        assert uid not in found, f"{uid} arrived twice"
        found[uid] = dataset_bytes(path)
    return found
