"""The study that the demo sends: a made-up CT of a sphere, and pydicom's samples."""

from array import array
from pathlib import Path

from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


_SAMPLES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "reportsi.dcm", "rtplan.dcm")
_SLICES, _SIZE = 20, 128  # slices of so many by so many pixels


def write_study(directory: Path) -> list[Path]:
    """Write a made-up CT study of a sphere; return it with the samples that pydicom ships."""
    directory.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(), generate_uid()
    slices = [_write_slice(directory, study, series, number) for number in range(1, _SLICES + 1)]
    samples = [get_testdata_file(name, download=False) for name in _SAMPLES]
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
    ds.Rows = ds.Columns = _SIZE
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    ds.PixelData = _sphere(number)
    path = directory / f"slice-{number:02d}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def _sphere(number: int) -> bytes:
    """Return the pixels of one slice: 16-bit, a bright sphere in dark air."""
    centre, depth = _SIZE / 2, (number - _SLICES / 2) * _SIZE / _SLICES
    radius = (_SIZE * 0.4) ** 2
    rows = range(_SIZE)
    return array(
        "H",
        (
            1064 if (x - centre) ** 2 + (y - centre) ** 2 + depth**2 < radius else 24
            for y in rows
            for x in rows
        ),
    ).tobytes()
