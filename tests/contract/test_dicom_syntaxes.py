"""The transfer syntaxes that a DICOM target wants: what is proposed, and what is converted."""

import os
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.pixels import iter_pixels

from contract.remotes import dicom_target, outgoing_of
from contract.test_dicom_conversion import EXPLICIT, IMPLICIT, JPEG_BASELINE, peer, send
from crossdock.dicom.convert import missing_codec
from crossdock.dicom.uids import TRANSFER_SYNTAXES
from crossdock.model import CheckStage, Outcome
from crossdock.protocols import adapter_for
from servers.dcmtk import storescp
from servers.keeper import Keeper, keeping
from servers.orthanc import orthanc
from servers.samples import dataset_of, identified, sample


JPEG_LS = TRANSFER_SYNTAXES["jpeg-ls-lossless"]
COMPRESSED = ["jpeg-lossless", "jpeg-ls-lossless", "jpeg-2000-lossless", "rle-lossless"]


def require_codec(name: str) -> None:
    """Skip without a codec at a desk, and fail in CI."""
    missing = missing_codec(TRANSFER_SYNTAXES[name])
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def stages(target: object) -> dict[str, CheckStage]:
    with adapter_for(target) as adapter:  # type: ignore[arg-type]  # made by dicom_target
        return {stage.name: stage for stage in adapter.check().stages}


@pytest.mark.parametrize("name", COMPRESSED)
def test_instances_arrive_in_the_transfer_syntax_that_the_target_wants(name: str) -> None:
    require_codec(name)
    names = ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"]
    with peer(TRANSFER_SYNTAXES[name], EXPLICIT, IMPLICIT) as (port, received):
        outcomes = send(dicom_target(port, convert_to=name), *names)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.DELIVERED] * 3
    assert all(outcome.detail.startswith("converted from ") for outcome in outcomes)
    for sent, ds in zip(names, received, strict=True):
        assert ds.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[name]
        before, after = (
            [frame.tolist() for frame in iter_pixels(each, raw=True, indices=[0])]
            for each in (dcmread(sample(sent)), ds)
        )
        assert after == before


def test_what_is_compressed_already_is_left_alone_unless_asked_for() -> None:
    require_codec("jpeg-ls-lossless")
    names = ["SC_rgb_jpeg_dcmtk.dcm", "CT_small.dcm"]
    with peer(JPEG_LS, JPEG_BASELINE, most=2) as (port, received):
        target = dicom_target(port, convert_to="jpeg-ls-lossless")
        first = send(target, *names)
        second = send(target.model_copy(update={"convert_only_uncompressed": False}), names[0])
    assert [outcome.detail != "" for outcome in (*first, *second)] == [False, True, True]
    syntaxes = [ds.file_meta.TransferSyntaxUID for ds in received]
    assert syntaxes == [JPEG_BASELINE, JPEG_LS, JPEG_LS]


def test_what_cannot_be_compressed_goes_as_it_is_and_the_outcome_says_why() -> None:
    require_codec("jpeg-ls-lossless")
    with peer(JPEG_LS, EXPLICIT, IMPLICIT) as (port, received):
        outcomes = send(
            dicom_target(port, convert_to="jpeg-ls-lossless"), "reportsi.dcm", "rtplan.dcm"
        )
    assert [outcome.outcome for outcome in outcomes] == [Outcome.DELIVERED] * 2
    for outcome in outcomes:
        assert outcome.detail.startswith("sent in ")
        assert outcome.detail.endswith(
            "JPEG-LS Lossless Image Compression failed: it has no pixel data"
        )
    assert len(received) == 2


def test_a_peer_that_does_not_take_what_is_wanted_gets_it_as_it_is() -> None:
    with peer(EXPLICIT) as (port, received):
        (outcome,) = send(dicom_target(port, convert_to="jpeg-ls-lossless"), "CT_small.dcm")
    assert outcome.outcome is Outcome.DELIVERED
    assert outcome.detail == (
        "sent in Explicit VR Little Endian: the peer does not accept it in"
        " JPEG-LS Lossless Image Compression"
    )
    assert received[0].file_meta.TransferSyntaxUID == EXPLICIT


@pytest.mark.parametrize("name", ["explicit-vr-little-endian", "implicit-vr-little-endian"])
def test_uncompressed_transfer_syntaxes_are_converted_to_without_a_codec(name: str) -> None:
    with peer(EXPLICIT, IMPLICIT) as (port, received):
        outcomes = send(
            dicom_target(port, convert_to=name), "CT_small.dcm", "MR_small_implicit.dcm"
        )
    assert sorted(outcome.detail != "" for outcome in outcomes) == [False, True]
    assert {ds.file_meta.TransferSyntaxUID for ds in received} == {TRANSFER_SYNTAXES[name]}


def test_only_the_transfer_syntaxes_that_are_allowed_are_proposed() -> None:
    names = ["CT_small.dcm", "MR_small_implicit.dcm"]
    with peer(EXPLICIT, IMPLICIT) as (port, received):
        outcomes = send(dicom_target(port, transfer_syntaxes=[IMPLICIT]), *names)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.DELIVERED] * 2
    assert outcomes[0].detail.startswith("converted from Explicit VR Little Endian")
    assert {ds.file_meta.TransferSyntaxUID for ds in received} == {IMPLICIT}


def test_what_is_not_allowed_and_not_converted_is_refused_in_words() -> None:
    allowed = dict(transfer_syntaxes=["jpeg-baseline"], convert_refused=False)  # noqa: C408
    with peer(EXPLICIT, IMPLICIT, JPEG_BASELINE) as (port, received):
        outcomes = send(dicom_target(port, **allowed), "CT_small.dcm", "SC_rgb_jpeg_dcmtk.dcm")
    assert [outcome.outcome for outcome in outcomes] == [Outcome.REFUSED, Outcome.DELIVERED]
    assert outcomes[0].detail == (
        "the target's transfer_syntaxes leave out Explicit VR Little Endian"
    )
    assert len(received) == 1


@pytest.mark.parametrize(
    ("option", "name"),
    [("+xs", "jpeg-lossless"), ("+xt", "jpeg-ls-lossless"), ("+xv", "jpeg-2000-lossless"), ("+xr", "rle-lossless")],
)  # fmt: skip
def test_storescp_stores_what_was_compressed(tmp_path: Path, option: str, name: str) -> None:
    require_codec(name)
    with storescp(tmp_path, "+B", option) as scp:
        (outcome,) = send(dicom_target(scp.port, convert_to=name), "CT_small.dcm")
        (kept,) = scp.files()
    assert outcome.outcome is Outcome.DELIVERED
    assert dcmread(kept).file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[name]


def test_private_transfer_syntaxes_go_through_where_they_are_allowed(tmp_path: Path) -> None:
    private = "1.2.826.0.1.3680043.10.999"
    path = tmp_path / "private.dcm"
    path.write_bytes(sample("CT_small.dcm").read_bytes())
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = private
    ds.save_as(path, implicit_vr=False, little_endian=True)
    with storescp(tmp_path / "scp", "+B", "+xa") as scp:
        target = dicom_target(scp.port, transfer_syntaxes=[private])
        with adapter_for(target) as adapter:
            (outcome,) = adapter.send(outgoing_of([path]))
    assert outcome.outcome is Outcome.REFUSED  # storescp knows no private ones
    assert private in outcome.detail
    keeper = Keeper()
    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1], transfer_syntaxes=[private])
        with adapter_for(target) as adapter:
            (outcome,) = adapter.send(outgoing_of([path]))
    assert outcome.outcome is Outcome.DELIVERED
    assert [kept.transfer_syntax_uid for kept in keeper.instances] == [private]


def test_a_check_says_what_the_peer_stores(tmp_path: Path) -> None:
    with storescp(tmp_path, "+xa") as scp:
        everything = stages(dicom_target(scp.port))["storage"]
        lossless = stages(dicom_target(scp.port, transfer_syntaxes=["jpeg-lossless"]))["storage"]
    assert everything.state == lossless.state == "ok"
    assert "of 36 storage classes" in everything.detail
    assert "CT also in jpeg-baseline, jpeg-lossless, jpeg-ls-lossless" in everything.detail
    assert "CT also in jpeg-lossless" in lossless.detail
    with peer(EXPLICIT) as (port, _):
        some = stages(dicom_target(port))["storage"]
    assert some.state == "ok"
    assert "; not: Computed Radiography" in some.detail
    assert " more" in some.detail


def test_a_check_of_a_peer_that_stores_nothing_is_red() -> None:
    with peer(JPEG_BASELINE, most=2) as (port, _):
        target = dicom_target(port, transfer_syntaxes=["rle-lossless"])
        stage = stages(target)["storage"]
        queried = stages(target.model_copy(update={"direction": "query"}))["storage"]
    assert stage.state == "failed"
    assert stage.detail == "accepts 0 of 36 storage classes"
    assert "calling AE title" in stage.advice
    assert (queried.state, queried.detail) == ("skipped", "nothing is stored there")


def test_a_check_says_whether_there_is_the_codec_that_the_target_wants() -> None:
    require_codec("jpeg-ls-lossless")
    with peer(EXPLICIT) as (port, _):
        found = stages(dicom_target(port, convert_to="jpeg-ls-lossless"))
    assert next(iter(found)) == "convert"
    assert found["convert"].state == "ok"


def test_datasets_that_are_not_converted_keep_every_byte(tmp_path: Path) -> None:
    with storescp(tmp_path, "+B", "+xe") as scp:
        (outcome,) = send(
            dicom_target(scp.port, convert_to="explicit-vr-little-endian"), "CT_small.dcm"
        )
        (kept,) = scp.files()
    assert outcome.detail == ""
    assert dataset_of(kept) == dataset_of(sample("CT_small.dcm"))


@pytest.mark.parametrize("name", COMPRESSED)
def test_orthanc_keeps_what_was_compressed(tmp_path: Path, name: str) -> None:
    require_codec(name)
    path = identified("CT_small.dcm", tmp_path / "ct")
    with orthanc(tmp_path / "orthanc") as peer:
        target = dicom_target(peer.dicom_port, called_ae_title="ORTHANC", convert_to=name)
        report = stages(target)
        with adapter_for(target) as adapter:
            (outcome,) = adapter.send(outgoing_of([path]))
        (kept,) = peer.instances()
        (tmp_path / "kept.dcm").write_bytes(peer.file(kept))
    assert outcome.outcome is Outcome.DELIVERED
    assert report["storage"].state == "ok"
    before, after = (
        [frame.tolist() for frame in iter_pixels(dcmread(each), raw=True, indices=[0])]
        for each in (path, tmp_path / "kept.dcm")
    )
    assert dcmread(tmp_path / "kept.dcm").file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[name]
    assert after == before
