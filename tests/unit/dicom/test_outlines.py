"""What is remembered of headers never changes what is found: only the values of each dataset count."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from crossdock.dicom.header import scan


IMPLICIT, EXPLICIT, BIG_ENDIAN = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
)  # fmt: skip
SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN)
STUDY, SERIES = WANTED = 0x0020000D, 0x0020000E
_never_asked_before = count()


def dataset(study: str, *, exposure: int = 100, code: str = "121326", items: int = 2) -> Dataset:
    """Return the start of an instance, with sequences of both length kinds before its study."""
    inner = Dataset()
    inner.CodeValue = code
    inner.StudyInstanceUID = "9.9.9"
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([inner])
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ReferencedImageSequence = Sequence([item] * items)
    ds["ReferencedImageSequence"].is_undefined_length = True
    ds.DerivationCodeSequence = Sequence([inner])
    ds.PatientName = "Doe^Jane"
    ds.Exposure = exposure
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study}.1"
    ds.InstanceNumber = exposure
    return ds


def encode(ds: Dataset, syntax: str) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = syntax == IMPLICIT, syntax != BIG_ENDIAN
    write_dataset(out, ds)
    return out.getvalue()


def walked(data: bytes, syntax: str) -> dict[int, bytes]:
    """Scan for tags that were never asked for before, of which nothing can be remembered."""
    fresh = 0x00050000 + next(_never_asked_before)
    found = scan(data, syntax, (*WANTED, fresh))
    return {tag: value for tag, value in found.items() if tag != fresh}


def text(found: dict[int, bytes], tag: int) -> str:
    return found[tag].decode().rstrip("\0")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_each_dataset_gives_its_own_values(syntax: str) -> None:
    for number in range(200):
        study = f"1.2.{number % 13}"
        ds = dataset(study, exposure=10 ** (number % 12), items=1 + number % 3)
        found = scan(encode(ds, syntax), syntax, WANTED)
        assert (text(found, STUDY), text(found, SERIES)) == (study, f"{study}.1")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_value_that_looks_like_headers_is_no_header(syntax: str) -> None:
    usual = encode(dataset("1.2.3"), syntax)
    assert text(scan(usual, syntax, WANTED), STUDY) == "1.2.3"
    # All of the usual bytes lie in the value of a longer comment; the study behind it counts.
    ds = dataset("4.5.6")
    ds.add_new(0x00091010, "UN", usual)
    lying = encode(ds, syntax)
    assert text(scan(lying, syntax, WANTED), STUDY) == "4.5.6"
    for cut in range(0, len(lying), 7):
        assert scan(lying[:cut], syntax, WANTED) == walked(lying[:cut], syntax)


def test_a_value_that_is_cut_off_is_not_found() -> None:
    data = encode(dataset("1.2.3"), EXPLICIT)
    scan(data, EXPLICIT, WANTED)
    end = data.index(b"1.2.3.1\0")
    assert set(scan(data[: end + 7], EXPLICIT, WANTED)) == {STUDY}
    assert set(scan(data[: end + 8], EXPLICIT, WANTED)) == {STUDY, SERIES}


@given(st.data())
def test_a_damaged_twin_is_walked_as_if_it_were_the_first(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    whole = encode(dataset("1.2.3"), syntax)
    scan(whole, syntax, WANTED)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for _ in range(2):  # the second time it is what is remembered
        assert scan(bytes(damaged), syntax, WANTED) == walked(bytes(damaged), syntax)


def test_headers_without_end_are_found_and_not_remembered() -> None:
    short = b"".join(
        b"\x08\x00" + number.to_bytes(2, "little") + b"CS\0\0" for number in range(1, 2000)
    )
    for study in (b"1.2.3\0", b"4.5.6\0"):
        data = short + b"\x20\0\x0d\0UI\x06\0" + study + b"\x20\0\x0e\0UI\0\0"
        assert scan(data, EXPLICIT, WANTED) == {STUDY: study, SERIES: b""}
