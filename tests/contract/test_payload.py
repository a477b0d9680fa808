import hashlib
import os
from pathlib import Path

import pytest

from contract.remotes import outgoing_of
from crossdock.dicom.part10 import read_file_meta
from crossdock.protocols.payload import Payload, SpoolUnreadable
from studies import by_uid, make_ct


def test_it_reads_as_one_file_however_it_is_read(tmp_path: Path) -> None:
    (outgoing,) = outgoing_of(make_ct(tmp_path / "ct", 1))
    with Payload(outgoing) as payload:
        whole = payload.read()
        assert len(whole) == payload.size
        pieces = [payload.pread(7, place) for place in range(0, payload.size, 7)]
        assert b"".join(pieces) == whole
        payload.seek(-10, os.SEEK_END)
        assert payload.read() == whole[-10:]
        assert payload.digest("sha256") == hashlib.sha256(whole).digest()
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(whole)
    assert by_uid([copy]) == by_uid([outgoing.path])
    assert read_file_meta(copy).address == ""


def test_a_damaged_file_is_the_spools_fault(tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 2)
    first, second = outgoing_of(paths)
    paths[0].unlink()
    paths[1].write_bytes(b"no DICOM")
    for outgoing in (first, second):
        with pytest.raises(SpoolUnreadable):
            Payload(outgoing)


def test_a_damaged_file_is_closed_once_and_not_another_that_got_its_number(tmp_path: Path) -> None:
    (path,) = make_ct(tmp_path / "ct", 1)
    (outgoing,) = outgoing_of([path])
    path.write_bytes(b"no DICOM")
    try:
        Payload(outgoing)
    except SpoolUnreadable:
        another = path.open("rb")  # gets the lowest free number; leaving collects the payload
    with another:
        assert another.read() == b"no DICOM"


def test_a_file_that_gets_shorter_is_told(tmp_path: Path) -> None:
    (outgoing,) = outgoing_of(make_ct(tmp_path / "ct", 1))
    with Payload(outgoing) as payload:
        with outgoing.path.open("r+b") as file:
            file.truncate(payload.offset + 1)
        with pytest.raises(SpoolUnreadable):
            payload.read()
