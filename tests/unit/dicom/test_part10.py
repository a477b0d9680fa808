"""The file format, judged by pydicom."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from crossdock.dicom.part10 import FileMeta, file_meta, parse_file_meta, read_file_meta
from crossdock.errors import DicomError


CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
titles = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=16)
uids = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5}){1,5}", fullmatch=True)


@given(
    st.tuples(uids, uids, uids),
    titles,
    titles,
    st.sampled_from(["", "10.0.0.7", "fe80::1", "2001:db8::7"]),
)
def test_what_is_written_can_be_read(
    three_uids: tuple[str, str, str], calling: str, called: str, address: str
) -> None:
    sop_class, instance, syntax = three_uids
    data = file_meta(
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        transfer_syntax_uid=syntax,
        calling_ae_title=calling,
        called_ae_title=called,
        address=address,
    )
    assert len(data) % 2 == 0
    meta = parse_file_meta(data, len(data), "test")
    expected = FileMeta(sop_class, instance, syntax, calling, called, address, len(data), len(data))
    assert meta == expected


def test_pydicom_reads_the_same() -> None:
    data = file_meta(
        sop_class_uid=CT,
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=EXPLICIT,
        calling_ae_title="CT1",
        called_ae_title="GATEWAY",
        address="10.0.0.7",
    )
    ds = pydicom.dcmread(BytesIO(data + b"\x08\x00\x60\x00CS\x02\x00CT"))
    assert ds.Modality == "CT"
    assert ds.file_meta.FileMetaInformationGroupLength == len(data) - 144
    assert ds.file_meta.FileMetaInformationVersion == b"\x00\x01"
    assert ds.file_meta.MediaStorageSOPClassUID == CT
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT
    assert ds.file_meta.SendingApplicationEntityTitle == "CT1"
    assert ds.file_meta.ReceivingApplicationEntityTitle == "GATEWAY"
    assert ds.file_meta.SendingPresentationAddress == "dicom://10.0.0.7"
    assert str(ds.file_meta.ImplementationVersionName).startswith("CROSSDOCK_")


def test_what_is_not_known_is_left_out() -> None:
    data = file_meta(sop_class_uid=CT, sop_instance_uid="1.2", transfer_syntax_uid=EXPLICIT)
    assert "SendingApplicationEntityTitle" not in pydicom.dcmread(BytesIO(data)).file_meta


@pytest.mark.parametrize("name", ["CT_small.dcm", "no_meta_group_length.dcm", "image_dfl.dcm"])
def test_files_of_others_are_understood(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    meta = read_file_meta(path)
    ds = pydicom.dcmread(path)
    assert meta.sop_class_uid == ds.file_meta.MediaStorageSOPClassUID
    assert meta.transfer_syntax_uid == ds.file_meta.TransferSyntaxUID
    assert meta.size == path.stat().st_size


def test_meta_information_of_several_blocks_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.dcm"
    private = b"\x02\x00\x02\x01OB\0\0\x00\x40\0\0" + bytes(0x4000)
    data = file_meta(sop_class_uid=CT, sop_instance_uid="1.2", transfer_syntax_uid=EXPLICIT)
    path.write_bytes(data + private + b"\x08\x00\x60\x00CS\x02\x00CT")
    assert read_file_meta(path).dataset_offset == len(data) + len(private)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "DICM"),
        (b"PK\x03\x04" + bytes(500), "DICM"),
        (bytes(128) + b"DICM", "0002,0010"),
        (bytes(128) + b"DICM\x02\x00\x10\x00UI\x00\x40abc", "cut off"),
        (bytes(128) + b"DICM\x08\x00\x60\x00CS\x02\x00CT", "0002,0010"),
    ],
)
def test_what_is_no_dicom_file_is_told_with_its_name(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(DicomError, match=words) as caught:
        read_file_meta(path)
    assert "x.bin" in str(caught.value)


@given(st.binary(max_size=2000))
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    with suppress(DicomError):
        parse_file_meta(bytes(128) + b"DICM\x02\x00" + data, 5000, "test")
