"""Bad input has a clear result, and nothing is lost or disturbed by it."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread

from crossdock.cli.demo import demo_gateway
from crossdock.dicom.errors import AssociationRejected
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scu import StorageScu
from ports import free_port
from running import Running, running
from servers import dcmtk
from studies import by_uid, dataset_bytes, make_ct
from waiting import until


TEMPORARY_CONGESTION = (2, 3, 1)  # result, source and reason: PS3.8 9.3.4


def _gateway(folder: Path, port: int) -> dict[str, object]:
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0]["port"] = port
    return gateway


def _crossdock(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli.main", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _associate(port: int, called: str = "CROSSDOCK", calling: str = "CT1") -> StorageScu:
    return StorageScu("127.0.0.1", port, called_ae_title=called, calling_ae_title=calling)


@contextmanager
def _association(port: int, path: Path) -> Iterator[StorageScu]:
    meta = read_file_meta(path)
    with _associate(port) as scu:
        scu.associate([(meta.sop_class_uid, (meta.transfer_syntax_uid,))])
        yield scu
        scu.release()


def test_a_text_file_is_not_sent_and_said_so_and_the_others_are(
    tmp_path: Path, folder: Path
) -> None:
    paths = make_ct(tmp_path / "study", 2)
    text = tmp_path / "notes.txt"
    text.write_text("This is no DICOM file. " * 20)
    with running(tmp_path / "data", _gateway(folder, port := free_port())):
        done = _crossdock("send", text, *paths, "--to", f"CROSSDOCK@127.0.0.1:{port}")
        assert done.returncode == 1
        assert "notes.txt" in done.stdout
        assert "2 instances stored" in done.stdout
        until(lambda: len(list(folder.rglob("*.dcm"))) == 2)


def test_a_dataset_that_is_no_dicom_is_kept_and_delivered_byte_by_byte(
    tmp_path: Path, folder: Path
) -> None:
    path = make_ct(tmp_path / "study", 1)[0]
    content = path.read_bytes()
    meta = read_file_meta(path)
    garbage = random.Random(7).randbytes(5000)
    path.write_bytes(content[: meta.dataset_offset] + garbage)
    with running(tmp_path / "data", _gateway(folder, port := free_port())):
        with _association(port, path) as scu:
            assert scu.store(path, read_file_meta(path)) == Status.SUCCESS
        until(lambda: list(folder.rglob("*.dcm")))
    assert dataset_bytes(next(folder.rglob("*.dcm"))) == garbage


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        random.Random(1).randbytes(4096),
        b"\x16\x03\x01\x02\x00" + bytes(200),
        b"\x01\x00\xff\xff\xff\xff" + bytes(100),
        b"",
    ],
    ids=["http", "random", "tls", "huge-pdu", "nothing"],
)
def test_noise_on_the_dicom_port_is_cut_off_and_others_are_served(
    tmp_path: Path, folder: Path, noise: bytes
) -> None:
    paths = make_ct(tmp_path / "study", 1)
    with running(tmp_path / "data", _gateway(folder, port := free_port())) as crossdock:
        with socket.create_connection(("127.0.0.1", port), timeout=40) as peer:
            peer.sendall(noise)
            if not noise:
                peer.shutdown(socket.SHUT_WR)
            while peer.recv(4096):
                pass
        assert _crossdock("send", paths[0], "--to", f"CROSSDOCK@127.0.0.1:{port}").returncode == 0
        until(lambda: list(folder.rglob("*.dcm")))
        until(crossdock.ready)
        assert len(until(crossdock.parcels)) == 1


def test_an_unknown_called_ae_and_a_forbidden_source_are_rejected_with_the_standards_reasons(
    tmp_path: Path, folder: Path
) -> None:
    gateway = _gateway(folder, port := free_port())
    node = gateway["store_nodes"][0]  # type: ignore[index]
    del node["accept"]
    node["sources"] = [
        {"ae_title": "CT1", "address": "127.0.0.0/8"},
        {"ae_title": "FAR", "address": "10.9.9.0/24"},
    ]
    context = [("1.2.840.10008.1.1", ("1.2.840.10008.1.2",))]
    with running(tmp_path / "data", gateway):
        for called, calling, reason in (
            ("WRONG", "CT1", 7),
            ("CROSSDOCK", "STRANGER", 3),
            ("CROSSDOCK", "FAR", 3),
        ):
            with (
                _associate(port, called, calling) as scu,
                pytest.raises(AssociationRejected) as rejected,
            ):
                scu.associate(context)
            assert (rejected.value.result, rejected.value.source) == (1, 1)
            assert rejected.value.reason == reason
        with _associate(port, "CROSSDOCK", "CT1") as scu:
            scu.associate(context)
            assert scu.echo() == 0
            scu.release()
        echo = dcmtk.run("echoscu", "-aec", "WRONG", "127.0.0.1", port)
        assert "Called AE Title Not Recognized" in echo.stdout


def test_a_yaml_with_a_wrong_field_is_refused_by_its_name_and_changes_nothing(
    tmp_path: Path, folder: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "store_nodes:\n"
        "  - {name: main, ae_title: CROSSDOCK, port: 11112, accept: any}\n"
        "targets:\n"
        "  - {name: research, type: folder, path: /data/research, excludes: '*.png'}\n"
        "  - {name: archive, type: dicom, host: pacs, port: 104000, called_ae_title: PACS}\n"
        "rules:\n"
        "  - {name: ct, when: 'Modalty == \"CT\"', targets: [nowhere]}\n"
    )
    with running(tmp_path / "data", _gateway(folder, free_port())) as crossdock:
        before = crossdock.api.get("/api/v1/gateway").json()
        done = _crossdock("apply", "-f", wrong, CROSSDOCK_API=f"http://{crossdock.address()}")
        assert done.returncode == 1
        said = done.stdout + done.stderr
        for field in ("targets[0].excludes", "targets[1].port", "rules[0].when"):
            assert field in said
        assert "did you mean 'Modality'" in said
        assert crossdock.api.get("/api/v1/gateway").json() == before
        until(crossdock.ready)


def test_up_with_a_wrong_configuration_names_the_field_and_ends(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "store_nodes:\n  - {name: main, ae_title: CROSSDOCK, prot: 104, accept: any}\n"
    )
    done = _crossdock("up", "--config", wrong, "--data", tmp_path / "data")
    assert done.returncode == 1
    assert "store_nodes[0].prot" in done.stdout + done.stderr


@contextmanager
def _small_disk(path: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system that is soon full; it needs root, as CI has."""
    if os.geteuid() != 0:
        assert not os.environ.get("CI"), "CI runs as root"
        pytest.skip("mounting a small file system needs root")
    path.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_answered_with_a700_and_the_association_goes_on(
    tmp_path: Path, folder: Path
) -> None:
    large = make_ct(tmp_path / "large", 1, size=6_000_000)[0]
    small = make_ct(tmp_path / "small", 1)[0]
    with (
        _small_disk(tmp_path / "data/spool", 4),
        running(
            tmp_path / "data",
            _gateway(folder, port := free_port()),
            CROSSDOCK_SPOOL_RESERVE="0",  # nothing is kept free, so that the disk does get full
        ) as crossdock,
    ):
        with _association(port, large) as scu:
            assert scu.store(large, read_file_meta(large)) == Status.OUT_OF_RESOURCES
            assert scu.store(small, read_file_meta(small)) == Status.SUCCESS
            assert scu.store(large, read_file_meta(large)) == Status.OUT_OF_RESOURCES
        until(lambda: list(folder.rglob("*.dcm")), what="the small one")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid([small])
        assert not list((tmp_path / "data/spool/incoming").iterdir())
        until(crossdock.ready)


def test_a_read_only_disk_is_answered_with_a700_and_works_again_afterwards(
    tmp_path: Path, folder: Path
) -> None:
    path = make_ct(tmp_path / "study", 1)[0]
    spool = tmp_path / "data/spool"
    with (
        _small_disk(spool, 50),
        running(tmp_path / "data", _gateway(folder, port := free_port())),
    ):
        with _association(port, path) as scu:
            subprocess.run(["mount", "-o", "remount,ro", str(spool)], check=True)
            assert scu.store(path, read_file_meta(path)) == Status.OUT_OF_RESOURCES
            subprocess.run(["mount", "-o", "remount,rw", str(spool)], check=True)
            assert scu.store(path, read_file_meta(path)) == Status.SUCCESS
        until(lambda: list(folder.rglob("*.dcm")))


def _refusal(port: int, path: Path) -> tuple[int, int, int] | None:
    """Ask for an association; return result, source and reason of its rejection, None if none."""
    try:
        with _association(port, path):
            return None
    except AssociationRejected as error:
        return error.result, error.source, error.reason


def test_a_spool_below_its_reserve_refuses_for_the_moment_and_recovers_without_a_restart(
    tmp_path: Path, folder: Path
) -> None:
    first, second, third = make_ct(tmp_path / "study", 3)
    spool = tmp_path / "data/spool"
    with (
        _small_disk(spool, 40),
        running(
            tmp_path / "data",
            _gateway(folder, port := free_port()),
            CROSSDOCK_SPOOL_RESERVE="20000000",
        ) as crossdock,
    ):
        receiver = crossdock.said("receiver")
        with _association(port, first) as scu:
            assert scu.store(first, read_file_meta(first)) == Status.SUCCESS
            (spool / "ballast").write_bytes(bytes(25_000_000))
            until(lambda: _refusal(port, first) == TEMPORARY_CONGESTION, what="the rejection")
            # Each process looks for itself, and what it saw may be a moment old.
            meta = read_file_meta(second)
            until(lambda: scu.store(second, meta) == Status.OUT_OF_RESOURCES, what="A700")
            until(lambda: not crossdock.ready(), what="not ready")
            (spool / "ballast").unlink()
            until(lambda: _refusal(port, first) is None, what="an association")
            until(lambda: scu.store(second, meta) == Status.SUCCESS, what="success")
        with _association(port, third) as scu:
            assert scu.store(third, read_file_meta(third)) == Status.SUCCESS
        until(crossdock.ready, what="ready")
        until(lambda: len(list(folder.rglob("*.dcm"))) == 3, what="all three")
        assert crossdock.said("receiver") == receiver
    assert by_uid(list(folder.rglob("*.dcm"))) == by_uid([first, second, third])


def test_one_uid_with_different_bytes_is_kept_twice_and_delivered_in_order(
    tmp_path: Path, folder: Path
) -> None:
    first = make_ct(tmp_path / "study", 1)[0]
    ds = dcmread(first)
    ds.StudyDescription = "CHEST, corrected"
    second = tmp_path / "second.dcm"
    ds.save_as(second, enforce_file_format=True)
    with dcmtk.storescp(tmp_path / "archive", "+B", "+xa", "-tn") as archive:
        gateway = _gateway(folder, port := free_port())
        gateway["targets"].append(  # type: ignore[attr-defined]
            {"name": "archive", "type": "dicom", "host": "127.0.0.1", "port": archive.port}
            | {"called_ae_title": "ARCHIVE"}
        )
        gateway["rules"][0]["targets"].append("archive")  # type: ignore[index]
        with running(tmp_path / "data", gateway) as crossdock:
            with _association(port, first) as scu:
                assert scu.store(first, read_file_meta(first)) == Status.SUCCESS
                assert scu.store(second, read_file_meta(second)) == Status.SUCCESS
            until(lambda: len(list(folder.rglob("*.dcm"))) == 2, what="both in the folder")
            until(lambda: len(archive.files()) == 2, what="both in the archive")
            until(lambda: _delivered(crossdock) == 4)
    assert _contents(folder.rglob("*.dcm")) == _contents([first, second])
    in_order = [dataset_bytes(path) for path in archive.files()]
    assert in_order == [dataset_bytes(first), dataset_bytes(second)]


def _delivered(crossdock: Running) -> int:
    return sum(row["delivered"] for row in crossdock.deliveries())


def _contents(paths: "Iterator[Path] | list[Path]") -> set[bytes]:
    return {dataset_bytes(path) for path in paths}


def test_a_send_to_nobody_says_so(tmp_path: Path) -> None:
    path = make_ct(tmp_path / "study", 1)[0]
    done = _crossdock("send", path, "--to", f"NOBODY@127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "refused" in done.stdout
