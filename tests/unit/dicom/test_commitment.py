"""Requests and reports on storage commitment as bytes: pydicom reads and writes the same."""

import io
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from crossdock.dicom import dimse
from crossdock.dicom.commitment import (
    MAX_REFERENCES,
    SYNTAXES,
    Reference,
    Report,
    Request,
    TooLarge,
    decode_report,
    decode_request,
    encode_report,
    encode_request,
)
from crossdock.dicom.commitment_handler import objection
from crossdock.dicom.uids import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from crossdock.errors import DicomError


CT = "1.2.840.10008.5.1.4.1.1.2"
REPORT = Report(
    "2.25.17",
    (Reference(CT, "1.2.3"), Reference(CT, "1.2.34")),
    ((Reference(CT, "1.2.5"), 0x0112),),
)


def written(ds: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, UID(syntax).is_implicit_VR
    write_dataset(buffer, ds)
    return buffer.getvalue()


def described(*, undefined: bool = False) -> Dataset:
    ds = Dataset()
    ds.RetrieveAETitle = "PACS"
    ds.TransactionUID = "2.25.17"
    items = []
    for uid in ("1.2.3", "1.2.34"):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
        item.StorageMediaFileSetID = "X"
        item.is_undefined_length_sequence_item = undefined
        items.append(item)
    ds.ReferencedSOPSequence = Sequence(items)
    ds["ReferencedSOPSequence"].is_undefined_length = undefined
    failed = Dataset()
    failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID = CT, "1.2.5"
    failed.FailureReason = 0x0112
    ds.FailedSOPSequence = Sequence([failed])
    return ds


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_we_write_pydicom_reads(syntax: str) -> None:
    data = io.BytesIO(encode_report(REPORT, syntax))
    implicit = UID(syntax).is_implicit_VR
    ds = dcmread(data, force=True) if implicit else _explicit(data.getvalue())
    assert ds.TransactionUID == "2.25.17"
    assert [item.ReferencedSOPInstanceUID for item in ds.ReferencedSOPSequence] == [
        "1.2.3",
        "1.2.34",
    ]
    assert [item.FailureReason for item in ds.FailedSOPSequence] == [0x0112]


def _explicit(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data), force=True)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_pydicom_writes_we_read(syntax: str, undefined: bool) -> None:
    assert decode_report(written(described(undefined=undefined), syntax), syntax) == REPORT
    request = Request("2.25.17", REPORT.committed)
    assert decode_request(written(described(), syntax), syntax) == request
    assert decode_request(encode_request(request, syntax), syntax) == request


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_garbage_is_an_error_and_nothing_else(syntax: str) -> None:
    good = encode_report(REPORT, syntax)
    for length in range(len(good)):
        with pytest.raises(DicomError):
            decode_request(good[:length], syntax)
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 0xFF
        try:
            decode_report(bytes(bad), syntax)
        except DicomError:
            continue
    for data in (b"", bytes(1000), b"\xff" * 1000):
        with pytest.raises(DicomError):
            decode_request(data, syntax)


def test_more_references_than_we_take_are_an_error() -> None:
    many = tuple(Reference(CT, f"1.2.{number}") for number in range(MAX_REFERENCES + 1))
    for references in (many, many * 5):
        data = encode_request(Request("2.25.17", references), SYNTAXES[0])
        with pytest.raises(TooLarge):
            decode_request(data, SYNTAXES[0])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0x0000),
        ({"field": dimse.C_ECHO_RQ}, 0x0211),
        ({"field": dimse.C_STORE_RQ}, 0x0211),
        ({"sop_class_uid": CT}, 0x0118),
        ({"sop_instance_uid": "1.2.3"}, 0x0112),
        ({"type_id": 2}, 0x0123),
        ({"field": dimse.N_EVENT_REPORT_RQ, "type_id": 2}, 0x0000),
        ({"field": dimse.N_EVENT_REPORT_RQ, "type_id": 3}, 0x0113),
        ({"has_dataset": False}, 0x0212),
    ],
)
def test_what_is_wrong_with_a_command_is_said_by_its_status(
    changes: dict[str, Any], status: int
) -> None:
    command = dimse.decode(
        dimse.action_request(1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, 1)
    )
    assert objection(command._replace(**changes), takes_requests=True) == status
    if command._replace(**changes).field == dimse.N_ACTION_RQ:
        assert objection(command, takes_requests=False) == 0x0122
