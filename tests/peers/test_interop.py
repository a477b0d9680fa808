"""Both roles with the archives that people run, and with peers that answer as they please."""

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filereader import read_dataset

from contract.remotes import dicom_target, outgoing_of, scripted
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols import adapter_for
from servers.dcmtk import dcmqrscp
from servers.keeper import Keeper, keeping
from servers.orthanc import Orthanc, orthanc
from servers.samples import NAMES, dataset_of, identified, sample
from studies import make_ct
from waiting import until


Elements = list[tuple[int, object]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def empty(archive: Orthanc) -> Orthanc:
    archive.forget_all()
    return archive


def elements_of(data: bytes, transfer_syntax_uid: str) -> Elements:
    """Return the elements of a dataset, without the padding that DCMTK leaves out."""
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        data = zlib.decompress(data, -zlib.MAX_WBITS)
    implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    ds = read_dataset(BytesIO(data), implicit, transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN)
    return [(int(element.tag), element.value) for element in ds if element.tag != 0xFFFCFFFC]


def elements_in(path: Path) -> Elements:
    return elements_of(dataset_of(path), read_file_meta(path).transfer_syntax_uid)


@pytest.mark.parametrize("name", NAMES)
def test_orthanc_takes_every_transfer_syntax_of_us(
    name: str, empty: Orthanc, tmp_path: Path
) -> None:
    path = identified(name, tmp_path)
    target = dicom_target(empty.dicom_port, called_ae_title="ORTHANC")
    with adapter_for(target) as adapter:
        (outcome,) = adapter.send(outgoing_of([path]))
    assert (outcome.outcome, outcome.status, outcome.detail) == (Outcome.DELIVERED, "0000", "")
    (instance,) = empty.instances()
    kept = dcmread(BytesIO(empty.file(instance)))
    assert kept.file_meta.TransferSyntaxUID == read_file_meta(path).transfer_syntax_uid
    assert [(int(e.tag), e.value) for e in kept if e.tag != 0xFFFCFFFC] == elements_in(path)


@pytest.mark.parametrize("name", NAMES)
def test_orthanc_sends_us_every_transfer_syntax(name: str, empty: Orthanc, tmp_path: Path) -> None:
    keeper = Keeper()
    path = identified(name, tmp_path)
    instance = empty.keep(path)
    with keeping(keeper) as scp:
        answer = empty.send([instance], scp.address[1], "GATE")
        assert answer.status_code == 200, answer.text
        until(lambda: keeper.balanced and keeper.over)
    (kept,) = keeper.instances
    meta = read_file_meta(path)
    assert (kept.state, kept.transfer_syntax_uid) == ("committed", meta.transfer_syntax_uid)
    assert elements_of(bytes(kept.data), kept.transfer_syntax_uid) == elements_in(path)


def test_a_mixed_delivery_goes_to_orthanc_over_one_association(
    empty: Orthanc, tmp_path: Path
) -> None:
    paths = [identified(name, tmp_path) for name in NAMES]
    distinct = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in paths}
    target = dicom_target(empty.dicom_port, called_ae_title="ORTHANC")
    with adapter_for(target) as adapter:
        outcomes = list(adapter.send(outgoing_of(paths)))
    assert [outcome.status for outcome in outcomes] == ["0000"] * len(paths)
    assert len(empty.instances()) == len(distinct)


def test_orthanc_checks_whom_it_is_called(empty: Orthanc) -> None:
    with adapter_for(dicom_target(empty.dicom_port, called_ae_title="WRONG")) as adapter:
        stages = {stage.name: stage for stage in adapter.check().stages}
    assert stages["associate"].state == "failed"
    assert "called AE title not recognised" in stages["associate"].detail


def test_dcmqrscp_takes_uncompressed_instances_and_refuses_the_others(tmp_path: Path) -> None:
    names = ["CT_small.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_implicit.dcm", "reportsi.dcm"]
    with dcmqrscp(tmp_path) as peer:
        target = dicom_target(peer.port, called_ae_title="QRSCP", convert_refused=False)
        with adapter_for(target) as adapter:
            assert adapter.check().green
            outcomes = list(adapter.send(outgoing_of([sample(name) for name in names])))
    assert [outcome.status for outcome in outcomes] == ["0000", "", "0000", "0000"]
    assert outcomes[1].outcome is Outcome.REFUSED


def attempt(port: int, paths: list[Path]) -> tuple[list[InstanceOutcome], DeliveryError | None]:
    """Return the outcomes of an attempt, and how it ended early if it did."""
    outcomes: list[InstanceOutcome] = []
    with adapter_for(dicom_target(port)) as adapter:
        try:
            outcomes.extend(adapter.send(outgoing_of(paths)))
        except DeliveryError as error:
            return outcomes, error
    return outcomes, None


def test_each_instance_has_the_outcome_that_the_peer_gave_it(tmp_path: Path) -> None:
    statuses = [0xB000, 0xA900, 0x0000, 0xC000, 0xB006, 0x0122, 0xB007, 0x0000]
    with scripted(statuses) as port:
        outcomes, error = attempt(port, make_ct(tmp_path, 8))
    assert error is None
    assert [outcome.status for outcome in outcomes] == [f"{status:04X}" for status in statuses]
    delivered, warning, refused = Outcome.DELIVERED, Outcome.WARNING, Outcome.REFUSED
    assert [outcome.outcome for outcome in outcomes] == [
        warning, refused, delivered, refused, warning, refused, warning, delivered,
    ]  # fmt: skip


@pytest.mark.parametrize(("last", "kind"), [(0xA700, "busy"), ("abort", "unreachable")])
def test_an_end_in_the_middle_leaves_what_was_answered(
    tmp_path: Path, last: int | str, kind: str
) -> None:
    with scripted([0x0000, 0xC000, 0xB000, last]) as port:
        outcomes, error = attempt(port, make_ct(tmp_path, 6))
    assert [outcome.status for outcome in outcomes] == ["0000", "C000", "B000"]
    assert error is not None
    assert (error.kind, error.temporary) == (ErrorKind(kind), True)


def test_a_peer_that_refuses_a_context_refuses_only_its_instances(tmp_path: Path) -> None:
    paths = [*make_ct(tmp_path, 2), sample("rtplan.dcm"), sample("waveform_ecg.dcm")]
    with scripted([0x0000, 0xB000]) as port:
        outcomes, error = attempt(port, paths)
    assert error is None
    assert [outcome.status for outcome in outcomes] == ["0000", "B000", "", ""]
    assert {outcome.outcome for outcome in outcomes[2:]} == {Outcome.REFUSED}
    assert "RT Plan Storage" in outcomes[2].detail
