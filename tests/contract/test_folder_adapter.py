"""What only the folder adapter can get wrong: names, conflicts, markers, links and durability."""

import errno
import os
import stat
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement

from contract.remotes import FolderRemote, outgoing_of
from crossdock.config.targets import FolderTarget, Target
from crossdock.dicom.part10 import read_file_meta
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols import Outgoing, adapter_for
from crossdock.protocols.folder.failures import failure, unstorable
from crossdock.protocols.placing import temporary_name
from studies import dataset_bytes, make_ct


@pytest.fixture
def remote(tmp_path: Path) -> FolderRemote:
    return FolderRemote(tmp_path)


def send(target: Target, outgoing: list[Outgoing]) -> list[InstanceOutcome]:
    with adapter_for(target) as adapter:
        outcomes = list(adapter.send(outgoing))
        adapter.finish(outgoing)
        return outcomes


def ct_with(path: Path, **values: str) -> Path:
    """Write a CT instance whose elements have any value, valid or not."""
    ds = pydicom.dcmread(make_ct(path.parent / f"{path.name}.d", 1)[0])
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        assert tag is not None
        vr = pydicom.datadict.dictionary_VR(tag)
        ds[keyword] = DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE)
    ds.save_as(path)
    return path


HOSTILE = [
    "../../etc/passwd",
    "..",
    ".",
    "",
    "/absolute",
    "a/b/c",
    "back\\slash",
    "line\nbreak",
    "김희중",
    "x" * 4000,
    "한" * 500,
    "-rf",
    "~",
    "$(reboot)",
    ".complete",
    "  ",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_stays_below_the_directory(
    remote: FolderRemote, tmp_path: Path, value: str
) -> None:
    path = ct_with(tmp_path / "hostile.dcm", PatientID=value, PatientName=value)
    naming = "{PatientID}/{PatientName}-{StudyDescription}/{PatientID}.dcm"
    (outcome,) = send(remote.target(naming=naming), outgoing_of([path]))
    assert outcome.outcome is Outcome.DELIVERED
    (written,) = [file for file in remote.files() if file.name != ".complete"]
    assert written.resolve().is_relative_to(remote.path)
    assert len(written.relative_to(remote.path).parts) == 3
    assert not written.name.startswith(".")
    assert dataset_bytes(written) == dataset_bytes(path)


def test_a_uid_with_nul_and_slashes_is_made_harmless(remote: FolderRemote, tmp_path: Path) -> None:
    path = make_ct(tmp_path / "ct", 1)[0]
    outgoing = outgoing_of([path], sop_instance_uid="../\0/" + "1." * 32)
    (outcome,) = send(remote.target(naming="{SOPInstanceUID}.dcm"), outgoing)
    assert outcome.outcome is Outcome.DELIVERED
    assert all(file.parent == remote.path for file in remote.files())


def test_values_that_are_missing_come_from_the_association_or_are_unknown(
    remote: FolderRemote, tmp_path: Path
) -> None:
    whole = make_ct(tmp_path / "ct", 1)[0]
    offset = read_file_meta(whole).dataset_offset
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(whole.read_bytes()[:offset] + b"\xff" * 10)
    uid = read_file_meta(whole).sop_instance_uid
    (outcome,) = send(remote.target(), outgoing_of([broken]))
    assert outcome.outcome is Outcome.DELIVERED
    written = remote.path / "unknown" / "unknown" / f"{uid}.dcm"
    assert dataset_bytes(written) == b"\xff" * 10


def test_a_symbolic_link_does_not_lead_out(remote: FolderRemote, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (remote.path / "SECRET-ID").symlink_to(outside)
    target = remote.target(naming="{PatientID}/{SOPInstanceUID}.dcm", complete_marker=False)
    (outcome,) = send(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert outcome.outcome is Outcome.REFUSED
    assert "SECRET" not in outcome.detail
    assert list(outside.iterdir()) == []


def test_a_symbolic_link_under_the_final_name_is_left_alone(
    remote: FolderRemote, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    uid = outgoing[0].instance.sop_instance_uid
    (remote.path / f"{uid}.dcm").symlink_to(victim)
    (outcome,) = send(remote.target(naming="{SOPInstanceUID}.dcm"), outgoing)
    assert outcome.outcome is Outcome.DELIVERED
    assert victim.read_bytes() == b"precious"
    assert (remote.path / f"{uid}-2.dcm").is_file()


def test_a_fifo_under_the_final_name_does_not_hang(remote: FolderRemote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    name = f"{outgoing[0].instance.sop_instance_uid}.dcm"
    os.mkfifo(remote.path / name)
    (outcome,) = send(remote.target(naming="{SOPInstanceUID}.dcm"), outgoing)
    assert outcome.outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    ("naming", "names"),
    [
        ("{PatientID}.dcm", ["SECRET-ID-2.dcm", "SECRET-ID-3.dcm", "SECRET-ID.dcm"]),
        ("v1.{PatientID}", ["v1.SECRET-ID", "v1.SECRET-ID-2", "v1.SECRET-ID-3"]),
    ],
)
def test_different_datasets_of_one_name_are_all_kept_however_often_they_come(
    remote: FolderRemote, tmp_path: Path, naming: str, names: list[str]
) -> None:
    paths = make_ct(tmp_path / "ct", 3)
    target = remote.target(naming=naming, complete_marker=False)
    for _ in range(3):
        outcomes = send(target, outgoing_of(paths))
        assert all(outcome.outcome is Outcome.DELIVERED for outcome in outcomes)
        assert [file.name for file in remote.files()] == names
    send(target, outgoing_of(paths[::-1]))
    assert [file.name for file in remote.files()] == names
    assert {dataset_bytes(file) for file in remote.files()} == {*map(dataset_bytes, paths)}


def test_the_files_meta_names_the_sender_and_no_address(
    remote: FolderRemote, tmp_path: Path
) -> None:
    send(remote.target(complete_marker=False), outgoing_of(make_ct(tmp_path / "ct", 1)))
    meta = read_file_meta(remote.files()[0])
    assert (meta.calling_ae_title, meta.called_ae_title, meta.address) == ("CT1", "CROSSDOCK", "")
    file = pydicom.dcmread(remote.files()[0])
    assert str(file.file_meta.ImplementationVersionName).startswith("CROSSDOCK")


def test_the_marker_is_there_only_while_the_directory_is_complete(
    remote: FolderRemote, tmp_path: Path
) -> None:
    target = remote.target(naming="{StudyDescription}/{SOPInstanceUID}.dcm")
    first = outgoing_of(make_ct(tmp_path / "first", 2))
    marker = remote.path / "CHEST" / ".complete"
    with adapter_for(target) as adapter:
        for _ in adapter.send(first):
            assert not marker.exists()
        adapter.finish(first)
    assert marker.exists()
    second = outgoing_of(make_ct(tmp_path / "second", 1))
    with adapter_for(target) as adapter:
        list(adapter.send(second))
        assert not marker.exists()
    with adapter_for(target) as restarted:
        restarted.finish(second)
    assert marker.read_bytes() == b""


def test_files_and_directories_have_the_permissions_of_the_settings(
    remote: FolderRemote, tmp_path: Path
) -> None:
    target = remote.target(file_mode="664", directory_mode="2775")
    send(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    for path in remote.path.rglob("*"):
        expected = 0o2775 if path.is_dir() else 0o664
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def about_to_be_killed(
    remote: FolderRemote, directory: Path
) -> tuple[list[Outgoing], FolderTarget, Path]:
    """Return an instance, a target, and where a worker writes the one before it is there."""
    outgoing = outgoing_of(make_ct(directory / "ct", 1))
    target = remote.target(naming="{SOPInstanceUID}.dcm", complete_marker=False)
    assert isinstance(target, FolderTarget)
    return outgoing, target, remote.path / temporary_name(target, outgoing[0])


def test_what_a_killed_worker_left_is_replaced_and_never_seen(
    remote: FolderRemote, tmp_path: Path
) -> None:
    outgoing, target, temporary = about_to_be_killed(remote, tmp_path)
    temporary.write_bytes(b"half")
    send(target, outgoing)
    (file,) = remote.files()
    assert dataset_bytes(file) == dataset_bytes(outgoing[0].path)


def test_a_worker_killed_when_it_had_just_given_the_name_leaves_one_file(
    remote: FolderRemote, tmp_path: Path
) -> None:
    outgoing, target, temporary = about_to_be_killed(remote, tmp_path)
    send(target, outgoing)
    (file,) = remote.files()
    temporary.hardlink_to(file)
    (outcome,) = send(target, outgoing)
    assert outcome.outcome is Outcome.DELIVERED
    assert remote.files() == [file]


def test_one_adapter_names_the_files_of_each_delivery_by_their_own_values(
    remote: FolderRemote, tmp_path: Path
) -> None:
    parcels = [outgoing_of(make_ct(tmp_path / name, 2)) for name in ("first", "second")]
    with adapter_for(remote.target()) as adapter:
        for outgoing in parcels:
            assert all(outcome.confirmed for outcome in adapter.send(outgoing))
            adapter.finish(outgoing)
    uids = {each.instance.sop_instance_uid for outgoing in parcels for each in outgoing}
    files = [path for path in remote.files() if path.suffix == ".dcm"]
    assert {path.stem for path in files} == uids
    assert {(path.parent / ".complete").exists() for path in files} == {True}


def test_each_delivery_goes_to_what_is_at_the_path_now(
    remote: FolderRemote, tmp_path: Path
) -> None:
    with adapter_for(remote.target(complete_marker=False)) as adapter:
        assert [outcome.confirmed for outcome in adapter.send(outgoing_of(make_ct(tmp_path, 1)))]
        away = remote.path.rename(tmp_path / "away")
        with pytest.raises(DeliveryError):
            list(adapter.send(outgoing_of(make_ct(tmp_path / "second", 1))))
        remote.path.mkdir()
        assert [outcome.confirmed for outcome in adapter.send(outgoing_of(make_ct(tmp_path, 1)))]
    assert len(list(away.rglob("*.dcm"))) == len(remote.files()) == 1


def test_a_directory_that_is_not_there_is_never_made(remote: FolderRemote, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="is it mounted"):
        send(remote.absent(), outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert not (tmp_path / "not mounted").exists()


def test_a_directory_that_cannot_be_written_to_is_misconfigured(
    remote: FolderRemote, tmp_path: Path
) -> None:
    target = remote.target(path="/sys", naming="{SOPInstanceUID}.dcm")
    with adapter_for(target) as adapter:
        states = [(stage.name, stage.state) for stage in adapter.check().stages]
    assert states == [("exists", "ok"), ("write", "failed"), ("space", "skipped")]
    with pytest.raises(DeliveryError) as raised:
        send(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert raised.value.kind is ErrorKind.MISCONFIGURED
    assert "/sys" in raised.value.detail


@pytest.mark.parametrize(
    ("number", "kind", "temporary"),
    [
        (errno.ENOSPC, ErrorKind.BUSY, True),
        (errno.EDQUOT, ErrorKind.BUSY, True),
        (errno.EACCES, ErrorKind.MISCONFIGURED, False),
        (errno.EROFS, ErrorKind.MISCONFIGURED, False),
        (errno.ESTALE, ErrorKind.UNREACHABLE, True),
        (errno.EIO, ErrorKind.UNREACHABLE, True),
        (errno.ETIMEDOUT, ErrorKind.UNREACHABLE, True),
        (errno.EDOM, ErrorKind.UNEXPECTED, False),
    ],
)
def test_an_error_of_the_file_system_says_what_kind_it_is(
    number: int, kind: ErrorKind, temporary: bool
) -> None:
    error = OSError(number, os.strerror(number), "/data/PHANTOM^NAME/1.dcm")
    found = failure(error, "/data")
    assert (found.kind, found.temporary) == (kind, temporary)
    assert "PHANTOM" not in found.detail
    assert unstorable(error) is None


def test_a_name_that_is_too_long_is_about_the_instance() -> None:
    refusal = unstorable(OSError(errno.ENAMETOOLONG, "File name too long"))
    assert refusal is not None
    assert refusal.status == "ENAMETOOLONG"
