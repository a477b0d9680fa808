"""The demo of ``crossdock up --demo``: a folder target, a made-up CT study, pydicom's samples."""

from array import array
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


STORE_NODE = "demo"
TARGET = "demo-folder"
SAMPLES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "reportsi.dcm", "rtplan.dcm")
SLICES, SIZE = 20, 128  # slices of SIZE by SIZE pixels


def demo_gateway(folder: Path) -> dict[str, Any]:
    """Return the demo's configuration: one store node, one folder, one rule for everything."""
    return {
        "store_nodes": [
            {"name": STORE_NODE, "ae_title": "CROSSDOCK", "port": 11112, "accept": "any"}
        ],
        "targets": [{"name": TARGET, "type": "folder", "path": str(folder)}],
        "rules": [{"name": "everything-to-the-demo-folder", "targets": [TARGET]}],
    }


def write_study(directory: Path) -> list[Path]:
    """Write a made-up CT study of a sphere; return it with the samples that pydicom ships."""
    directory.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(), generate_uid()
    slices = [_write_slice(directory, study, series, number) for number in range(1, SLICES + 1)]
    samples = [get_testdata_file(name, download=False) for name in SAMPLES]
    return slices + [Path(str(sample)) for sample in samples if sample is not None]


def _write_slice(directory: Path, study: str, series: str, number: int) -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.PatientName, ds.PatientID = "Demo^Sphere", "DEMO"
    ds.Modality, ds.StudyDescription = "CT", "CROSSDOCK DEMO CHEST"
    ds.SeriesNumber, ds.InstanceNumber = 1, number
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient = [0, 0, number * 5]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 5
    ds.Rows = ds.Columns = SIZE
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    ds.PixelData = _sphere(number)
    path = directory / f"slice-{number:02d}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def _sphere(number: int) -> bytes:
    """Return the pixels of one slice: 16-bit, a bright sphere in dark air."""
    centre, depth = SIZE / 2, (number - SLICES / 2) * SIZE / SLICES
    radius = (SIZE * 0.4) ** 2
    rows = range(SIZE)
    return array(
        "H",
        (
            1064 if (x - centre) ** 2 + (y - centre) ** 2 + depth**2 < radius else 24
            for y in rows
            for x in rows
        ),
    ).tobytes()
