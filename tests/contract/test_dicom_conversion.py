"""What a DICOM target gets whose peer refuses the transfer syntax that an instance is in."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom import AE, evt

from contract.remotes import dicom_target, outgoing_of
from crossdock.config.targets import Target
from crossdock.dicom.part10 import read_file_meta
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols import adapter_for
from servers.dcmtk import storescp
from servers.samples import NAMES, dataset_of, sample


IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
PLAIN = [
    name
    for name in NAMES
    if not UID(read_file_meta(sample(name)).transfer_syntax_uid).is_encapsulated
]
COMPRESSED = [name for name in NAMES if name not in PLAIN]
TWELVE_BITS = ["JPGExtended.dcm", "JPEG-lossy.dcm"]  # only a plug-in under the GPL decodes them


def require_codecs() -> None:
    """Skip without the extra ``codecs`` at a desk, and fail in CI."""
    missing = [name for name in ("numpy", "gdcm", "jpeg_ls", "openjpeg") if not find_spec(name)]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{missing} are not installed, and CI must have crossdock[codecs]")
    if missing:
        pytest.skip("crossdock[codecs] is not installed")


WITHOUT_CODECS = """
import sys
from contract.remotes import dicom_target, outgoing_of
from crossdock.protocols import adapter_for
from servers.samples import sample

with adapter_for(dicom_target(sys.argv[1])) as adapter:
    for outcome in adapter.send(outgoing_of([sample(name) for name in sys.argv[2:]])):
        print(outcome.outcome.value, outcome.detail)
"""


def send(target: Target, *names: str) -> list[InstanceOutcome]:
    with adapter_for(target) as adapter:
        return list(adapter.send(outgoing_of([sample(name) for name in names])))


@contextmanager
def peer(
    *syntaxes: str, status: int = 0x0000, most: int = 1
) -> Iterator[tuple[int, list[Dataset]]]:
    """Run a peer that stores all these samples, in these syntaxes only, over ``most`` associations."""
    received: list[Dataset] = []
    associations: list[object] = []
    ae = AE("PEER")
    for uid in {read_file_meta(sample(name)).sop_class_uid for name in NAMES}:
        ae.add_supported_context(uid, list(syntaxes))

    def store(event: Any) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        received.append(ds)
        return status

    def associated(event: Any) -> None:
        associations.append(event.assoc)

    handlers: list[Any] = [(evt.EVT_C_STORE, store), (evt.EVT_ESTABLISHED, associated)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1], received
        assert len(associations) <= most, "one association for all"
    finally:
        server.shutdown()
        server.server_close()


def differing(sent: Dataset, received: Dataset) -> list[str]:
    """Return the elements that are not the same; private ones lose their VR in implicit VR."""
    return [
        element.keyword
        for element in sent
        if not element.tag.is_private
        and (element.tag not in received or received[element.tag].value != element.value)
    ]


@pytest.mark.parametrize("option", ["+xi", "+xb", "+xe"])
def test_what_the_peer_takes_goes_as_it_is(option: str, tmp_path: Path) -> None:
    name = {"+xi": "MR_small_implicit.dcm", "+xb": "MR_small_bigendian.dcm", "+xe": "CT_small.dcm"}
    with storescp(tmp_path, "+B", option) as scp:
        (outcome,) = send(dicom_target(scp.port), name[option])
        (kept,) = scp.files()
    assert (outcome.outcome, outcome.detail) == (Outcome.DELIVERED, "")
    assert dataset_of(kept) == dataset_of(sample(name[option]))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_uncompressed_instances_arrive_in_the_syntax_that_the_peer_takes(syntax: str) -> None:
    with peer(syntax) as (port, received):
        outcomes = send(dicom_target(port), *PLAIN)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.DELIVERED] * len(PLAIN)
    for name, outcome, ds in zip(PLAIN, outcomes, received, strict=True):
        sent = dcmread(sample(name))
        own = sent.file_meta.TransferSyntaxUID
        assert ds.file_meta.TransferSyntaxUID == syntax
        if own == syntax:
            assert outcome.detail == ""
        else:
            assert outcome.detail == f"converted from {own.name} to {UID(syntax).name}"
        if "bigendian" not in name:
            assert differing(sent, ds) == []


def test_pixels_of_big_endian_have_their_bytes_turned() -> None:
    with peer(IMPLICIT) as (port, received):
        send(dicom_target(port), "MR_small_bigendian.dcm")
    original = dcmread(sample("MR_small_implicit.dcm"))
    assert received[0].PixelData == original.PixelData
    assert received[0].Rows == original.Rows


def test_a_target_may_want_everything_as_it_is() -> None:
    with peer(IMPLICIT) as (port, received):
        outcomes = send(
            dicom_target(port, convert_refused=False), "CT_small.dcm", "MR_small_implicit.dcm"
        )
    assert [outcome.outcome for outcome in outcomes] == [Outcome.REFUSED, Outcome.DELIVERED]
    assert outcomes[0].detail == (
        "the peer does not accept CT Image Storage in Explicit VR Little Endian"
    )
    assert len(received) == 1


def test_compressed_and_uncompressed_instances_go_over_one_association() -> None:
    names = ["SC_rgb_jpeg_dcmtk.dcm", "CT_small.dcm", "MR_small_implicit.dcm"]
    with peer(JPEG_BASELINE, IMPLICIT) as (port, received):
        outcomes = send(dicom_target(port), *names)
    assert [outcome.outcome for outcome in outcomes] == [Outcome.DELIVERED] * 3
    assert ["converted" in outcome.detail for outcome in outcomes] == [False, True, False]
    syntaxes = [ds.file_meta.TransferSyntaxUID for ds in received]
    assert syntaxes == [JPEG_BASELINE, IMPLICIT, IMPLICIT]


def test_the_status_of_a_converted_instance_is_the_peers() -> None:
    with peer(IMPLICIT, status=0xB000) as (port, _):
        (outcome,) = send(dicom_target(port), "CT_small.dcm")
    assert (outcome.outcome, outcome.status) == (Outcome.WARNING, "B000")
    assert outcome.detail.endswith(
        "; converted from Explicit VR Little Endian to Implicit VR Little Endian"
    )


def test_without_a_codec_the_outcome_says_so(tmp_path: Path) -> None:
    """The codecs are hidden from a process of its own by packages that cannot be imported."""
    for package in ("numpy", "gdcm", "jpeg_ls", "openjpeg", "pylibjpeg", "PIL"):
        (tmp_path / f"{package}.py").write_text("raise ImportError\n")
    (tmp_path / "send.py").write_text(WITHOUT_CODECS)
    names = ["JPEG2000.dcm", "CT_small.dcm", "MR_small_RLE.dcm"]
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    with peer(EXPLICIT) as (port, received):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "send.py"), str(port), *names],
            env={**os.environ, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
    outcomes = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [outcome for outcome, _ in outcomes] == ["refused", "delivered", "refused"]
    assert outcomes[0][1].endswith(
        ", and converting it failed: no codec for JPEG 2000 Image Compression:"
        " install crossdock[codecs]"
    )
    assert len(received) == 1


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_instances_are_decompressed_with_the_codecs(name: str) -> None:
    require_codecs()
    with peer(EXPLICIT) as (port, received):
        (outcome,) = send(dicom_target(port), name)
    if name in TWELVE_BITS:
        assert outcome.outcome is Outcome.REFUSED
        assert "its data cannot be decoded" in outcome.detail
        return
    sent, ds = dcmread(sample(name)), received[0]
    assert outcome.outcome is Outcome.DELIVERED
    assert "converted" in outcome.detail
    length = sent.Rows * sent.Columns * sent.SamplesPerPixel * sent.BitsAllocated // 8
    assert len(ds.PixelData) == length + length % 2
    assert set(differing(sent, ds)) <= {"PixelData", "PhotometricInterpretation"}


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
def test_what_was_compressed_without_loss_has_its_pixels_again(name: str) -> None:
    require_codecs()
    with peer(EXPLICIT) as (port, received):
        send(dicom_target(port), name)
    assert received[0].PixelData == dcmread(sample("MR_small_implicit.dcm")).PixelData


def test_damaged_data_is_refused_in_words_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "damaged.dcm"
    data = sample("CT_small.dcm").read_bytes()
    at = read_file_meta(sample("CT_small.dcm")).dataset_offset
    path.write_bytes(data[: at + 200] + b"\xff" * 300)
    with peer(IMPLICIT) as (port, received), adapter_for(dicom_target(port)) as adapter:
        outcomes = list(adapter.send(outgoing_of([path, sample("MR_small_implicit.dcm")])))
    assert [outcome.outcome for outcome in outcomes][-1] is Outcome.DELIVERED
    assert "CompressedSamples" not in outcomes[0].detail
    assert len(received) >= 1
