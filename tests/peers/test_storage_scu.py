"""Our storage SCU, with the peers that people run."""

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE

from crossdock.dicom.errors import (
    AssociationAborted,
    AssociationRejected,
    NoAcceptedContext,
    PeerTimeout,
    PeerUnreachable,
    ProtocolError,
)
from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.dicom.status import Status
from crossdock.dicom.storage_scp import CALLED_AE_TITLE_NOT_RECOGNISED, StorageScp
from crossdock.dicom.storage_scu import StorageScu
from crossdock.errors import SpoolError
from ports import free_port
from servers.certificates import make_certificate
from servers.dcmtk import storescp
from servers.keeper import Keeper, keeping
from servers.samples import NAMES, dataset_of, padded, sample, write_instance
from waiting import until


VERIFICATION = ("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])
Context = tuple[str, list[str]]


def scu_to(port: int, **options: object) -> StorageScu:
    titles = {"called_ae_title": "PEER", "calling_ae_title": "CROSSDOCK"}
    return StorageScu("127.0.0.1", port, **{**titles, **options})  # type: ignore[arg-type] # mixed


def context_of(meta: FileMeta) -> Context:
    return meta.sop_class_uid, [meta.transfer_syntax_uid]


@contextmanager
def pynetdicom_scp(*statuses: int) -> Iterator[int]:
    """Run a pynetdicom SCP that answers these statuses in turn."""
    answers = iter(statuses)
    ae = AE("PEER")
    for uid in ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1"):
        ae.add_supported_context(uid)
    handlers: list[Any] = [(evt.EVT_C_STORE, lambda _: next(answers))]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def scripted_peer(*replies: bytes, close: bool = True) -> Iterator[int]:
    """Run a peer that reads a little before each of its replies, whatever it was told."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            for reply in replies:
                connection.recv(4096)
                connection.sendall(reply)
            if not close:
                while connection.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join(60)


@pytest.mark.parametrize("max_pdu", [4096, 131072])
@pytest.mark.parametrize("name", NAMES)
def test_storescp_keeps_every_transfer_syntax_byte_for_byte(
    name: str, max_pdu: int, tmp_path: Path
) -> None:
    path, meta = sample(name), read_file_meta(sample(name))
    with storescp(tmp_path, "+B", "+xa", "-pm", "-pdu", str(max_pdu)) as peer:
        with scu_to(peer.port) as scu:
            scu.associate([context_of(meta), VERIFICATION])
            assert scu.accepted(meta.sop_class_uid, meta.transfer_syntax_uid)
            assert scu.echo() == Status.SUCCESS
            assert scu.store(path, meta) == Status.SUCCESS
        (kept,) = peer.files()
    assert read_file_meta(kept).transfer_syntax_uid == meta.transfer_syntax_uid
    assert dataset_of(kept) == padded(dataset_of(path))


def test_many_files_of_odd_sizes_arrive_in_order(tmp_path: Path) -> None:
    files = []
    for number, size in enumerate((0, 1, 16367, 131066, 131067, 131070, 1_000_001, 5_000_002)):
        path = tmp_path / f"{number}.dcm"
        files.append((path, write_instance(path, size, number + 1)))
    for max_pdu in (4096, 16384, 131072):
        keeper = Keeper()
        with keeping(keeper, max_pdu=max_pdu) as scp, scu_to(scp.address[1]) as scu:
            scu.associate([context_of(files[0][1])])
            assert scu.window == 16
            assert list(scu.store_many(files)) == [Status.SUCCESS] * len(files)
        assert [kept.sop_instance_uid for kept in keeper.instances] == [
            meta.sop_instance_uid for _, meta in files
        ]
        for kept, (path, _) in zip(keeper.instances, files, strict=True):
            assert bytes(kept.data) == padded(dataset_of(path))


def test_a_dataset_of_no_bytes_is_sent_too(tmp_path: Path) -> None:
    path = tmp_path / "empty.dcm"
    data = sample("CT_small.dcm").read_bytes()
    path.write_bytes(data[: read_file_meta(sample("CT_small.dcm")).dataset_offset])
    meta = read_file_meta(path)
    keeper = Keeper()
    with keeping(keeper) as scp, scu_to(scp.address[1]) as scu:
        scu.associate([context_of(meta)])
        assert scu.store(path, meta) == Status.SUCCESS
    assert keeper.committed == {meta.sop_instance_uid: b""}


def test_each_status_is_reported_as_the_peer_gave_it() -> None:
    meta = read_file_meta(sample("CT_small.dcm"))
    statuses = [0x0000, 0xB000, 0xA700, 0xA900, 0xC000, 0x0122, 0xB007, 0x0000]
    with pynetdicom_scp(*statuses) as port, scu_to(port) as scu:
        scu.associate([context_of(meta)])
        sent = [(sample("CT_small.dcm"), meta)] * len(statuses)
        assert list(scu.store_many(sent)) == statuses


def test_a_store_says_which_move_it_belongs_to() -> None:
    meta = read_file_meta(sample("CT_small.dcm"))
    seen = []
    ae = AE("PEER")
    ae.add_supported_context(meta.sop_class_uid)

    def keep(event: evt.Event) -> int:
        request = event.request
        assert isinstance(request, C_STORE)
        seen.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return 0

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    with scu_to(server.server_address[1]) as scu:
        scu.associate([context_of(meta)])
        scu.store(sample("CT_small.dcm"), meta, move_originator=("ASKER", 7))
    server.shutdown()
    assert seen == [("ASKER", 7)]


def test_a_peer_that_refuses_is_a_rejection(tmp_path: Path) -> None:
    with (
        storescp(tmp_path, "--refuse") as peer,
        scu_to(peer.port) as scu,
        pytest.raises(AssociationRejected) as caught,
    ):
        scu.associate([VERIFICATION])
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 1)
    assert not caught.value.temporary


def test_a_rejection_is_told_in_words() -> None:
    keeper = Keeper()
    keeper.rejection = CALLED_AE_TITLE_NOT_RECOGNISED
    with (
        keeping(keeper) as scp,
        scu_to(scp.address[1]) as scu,
        pytest.raises(AssociationRejected, match="called AE title not recognised"),
    ):
        scu.associate([VERIFICATION])


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_a_peer_that_aborts_is_reported_as_that(option: str, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    meta = write_instance(path, 3_000_000)
    with storescp(tmp_path / "kept", option) as peer, scu_to(peer.port) as scu:
        scu.associate([context_of(meta)])
        with pytest.raises(AssociationAborted):
            scu.store(path, meta)


def test_what_was_answered_before_an_abort_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    meta = write_instance(path, 100_000)
    keeper = Keeper()
    stopping: list[threading.Thread] = []

    def stop_at_the_third() -> int:
        if len(keeper.instances) == 3:
            stopping.append(threading.Thread(target=scp.stop, args=(0.0,)))
            stopping[0].start()
        return 0

    keeper.on_commit = stop_at_the_third
    statuses: list[int] = []
    with keeping(keeper) as scp, scu_to(scp.address[1]) as scu:
        scu.associate([context_of(meta)])
        with pytest.raises((AssociationAborted, ProtocolError)):
            statuses.extend(scu.store_many((path, meta) for _ in range(5000)))
    stopping[0].join()
    stored = sum(kept.state == "committed" for kept in keeper.instances)
    assert 0 < len(statuses) <= stored < 5000
    assert keeper.balanced


def test_nobody_listening_is_unreachable() -> None:
    with scu_to(free_port()) as scu, pytest.raises(PeerUnreachable, match="refused") as caught:
        scu.associate([VERIFICATION])
    assert caught.value.stage == "connect"


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".invalid", "no..where"])
def test_a_name_that_does_not_resolve_is_unreachable(host: str) -> None:
    scu = StorageScu(host, 104, called_ae_title="PEER", calling_ae_title="US")
    with pytest.raises(PeerUnreachable) as caught:
        scu.connect()
    assert caught.value.stage == "resolve"


def test_a_peer_that_says_nothing_times_out() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        scu_to(silent.getsockname()[1], acse_timeout=0.2) as scu,
        pytest.raises(PeerTimeout),
    ):
        scu.associate([VERIFICATION])


def test_a_peer_that_never_answers_a_store_times_out() -> None:
    meta = read_file_meta(sample("CT_small.dcm"))
    keeper = Keeper()
    over = threading.Event()
    keeper.on_commit = lambda: [over.wait(60), 0][1]
    with keeping(keeper) as scp:
        with scu_to(scp.address[1], dimse_timeout=0.2) as scu:
            scu.associate([context_of(meta)])
            with pytest.raises(PeerTimeout):
                scu.store(sample("CT_small.dcm"), meta)
        over.set()
        until(lambda: keeper.balanced)


def test_a_peer_that_stops_reading_times_out(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    meta = write_instance(path, 50_000_000)
    keeper = Keeper()
    stuck = threading.Event()
    keeper.on_write = lambda: stuck.wait(60)
    with keeping(keeper) as scp:
        with scu_to(scp.address[1], dimse_timeout=0.3) as scu:
            scu.associate([context_of(meta)])
            with pytest.raises(PeerTimeout):
                scu.store(path, meta)
        stuck.set()
        until(lambda: keeper.balanced)
    assert [kept.state for kept in keeper.instances] == ["discarded"]


def test_an_http_server_is_no_peer() -> None:
    with (
        scripted_peer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        scu_to(port) as scu,
        pytest.raises(ProtocolError),
    ):
        scu.associate([VERIFICATION])


@pytest.mark.parametrize("length", range(12))
def test_a_peer_that_closes_in_the_middle_of_its_answer_aborts(length: int) -> None:
    answer = b"\x02\x00\x00\x00\x00\x80" + bytes(128)
    with (
        scripted_peer(answer[:length]) as port,
        scu_to(port) as scu,
        pytest.raises(AssociationAborted),
    ):
        scu.associate([VERIFICATION])


def test_a_context_that_was_not_accepted_is_not_used() -> None:
    meta = read_file_meta(sample("CT_small.dcm"))
    find = ("1.2.840.10008.5.1.4.1.2.2.1", ["1.2.840.10008.1.2"])
    with keeping(Keeper()) as scp, scu_to(scp.address[1]) as scu:
        scu.associate([find])
        assert not scu.accepted(*find[:1], "1.2.840.10008.1.2")
        with pytest.raises(NoAcceptedContext):
            scu.store(sample("CT_small.dcm"), meta)
        with pytest.raises(NoAcceptedContext):
            scu.echo()


def test_a_file_that_vanished_leaves_the_association_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    meta = write_instance(path, 100_000)
    with keeping(Keeper()) as scp, scu_to(scp.address[1]) as scu:
        scu.associate([context_of(meta)])
        with pytest.raises(SpoolError, match=r"gone\.dcm"):
            scu.store(tmp_path / "gone.dcm", meta)
        assert scu.store(path, meta) == Status.SUCCESS


def test_a_file_that_shrank_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    meta = write_instance(path, 100_000)
    os.truncate(path, meta.dataset_offset - 1)
    keeper = Keeper()
    with keeping(keeper) as scp, scu_to(scp.address[1]) as scu:
        scu.associate([context_of(meta)])
        with pytest.raises(SpoolError, match="ended"):
            scu.store(path, meta)
    assert keeper.instances == []


def abort_once(committing: threading.Event, scu: StorageScu) -> None:
    assert committing.wait(60)
    scu.abort()


def test_abort_from_another_thread_ends_a_waiting_call() -> None:
    meta = read_file_meta(sample("CT_small.dcm"))
    keeper = Keeper()
    committing, go_on = threading.Event(), threading.Event()

    def wait() -> int:
        committing.set()
        go_on.wait(60)
        return 0

    keeper.on_commit = wait
    with keeping(keeper) as scp:
        with scu_to(scp.address[1]) as scu:
            scu.associate([context_of(meta)])
            aborting = threading.Thread(target=abort_once, args=(committing, scu))
            aborting.start()
            with pytest.raises(AssociationAborted):
                scu.store(sample("CT_small.dcm"), meta)
        go_on.set()
        until(lambda: keeper.balanced)


def test_ipv6_hosts_work() -> None:
    keeper = Keeper()
    scp = StorageScp("::1", 0, keeper)
    try:
        scp.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with StorageScu("::1", scp.address[1], called_ae_title="A", calling_ae_title="B") as scu:
        scu.associate([VERIFICATION])
        assert scu.echo() == Status.SUCCESS
    scp.stop()
    assert [caller.address for caller in keeper.admitted] == ["::1"]


@pytest.mark.parametrize("max_pdu", [4096, 131072])
def test_tls_carries_the_same_bytes(max_pdu: int, tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=certificate)
    path = tmp_path / "a.dcm"
    meta = write_instance(path, 2_000_000)
    keeper = Keeper()
    with keeping(keeper, tls=lambda: server, max_pdu=max_pdu) as scp:
        with scu_to(scp.address[1], tls=client) as scu:
            scu.associate([context_of(meta)])
            assert list(scu.store_many([(path, meta)] * 3)) == [Status.SUCCESS] * 3
        until(lambda: keeper.balanced)
    assert all(bytes(kept.data) == dataset_of(path) for kept in keeper.instances)


def test_a_certificate_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    with (
        keeping(Keeper(), tls=lambda: server) as scp,
        scu_to(scp.address[1], tls=ssl.create_default_context()) as scu,
        pytest.raises(PeerUnreachable, match="certificate not trusted") as caught,
    ):
        scu.associate([VERIFICATION])
    assert caught.value.stage == "tls"
