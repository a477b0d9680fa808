"""Our storage SCP against peers that break the rules, byte by byte."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossdock.dicom import associate, dimse, pdu
from crossdock.dicom.associate import Associate, Context, UserInformation
from crossdock.dicom.pdu import COMMAND, LAST
from crossdock.dicom.storage_scp import StorageScp
from servers.keeper import Keeper, keeping
from waiting import until


CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DATA = bytes(range(256)) * 4
RELEASE = pdu.encode_short(pdu.RELEASE_RQ)
SHORT = {"acse_timeout": 0.3, "dimse_timeout": 0.3, "idle_timeout": 0.3}


def request(**changes: object) -> bytes:
    associated = Associate(
        called=associate.write_ae_title("GATE"),
        calling=associate.write_ae_title("RAW"),
        contexts=(Context(1, CT, (EXPLICIT,)), Context(3, CT, (EXPLICIT,))),
        user=UserInformation(max_length=16384),
        **changes,  # type: ignore[arg-type] # one field of any type
    )
    return pdu.encode(pdu.ASSOCIATE_RQ, associate.encode_request(associated))


def value(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def store(message_id: int = 1, uid: str = "1.2.3") -> bytes:
    return dimse.store_request(message_id, CT, uid)


def message(context_id: int = 1, data: bytes = DATA) -> bytes:
    return pdu.encode(
        pdu.P_DATA_TF,
        value(context_id, COMMAND | LAST, store()) + value(context_id, LAST, data),
    )


@contextmanager
def connected(scp: StorageScp) -> Iterator[socket.socket]:
    with socket.create_connection(scp.address, timeout=10) as sock:
        yield sock


def read_pdu(sock: socket.socket) -> tuple[int, bytes]:
    head = b""
    while len(head) < 6:
        more = sock.recv(6 - len(head))
        if not more:
            return 0, b""
        head += more
    length = int.from_bytes(head[2:], "big")
    body = b""
    while len(body) < length:
        body += sock.recv(length - len(body))
    return head[0], body


def read_status(sock: socket.socket) -> int:
    kind, body = read_pdu(sock)
    assert kind == pdu.P_DATA_TF
    return dimse.decode(body[6:]).status


def read_abort(sock: socket.socket) -> tuple[int, int]:
    kind, body = read_pdu(sock)
    assert kind == pdu.ABORT, (kind, body)
    return body[2], body[3]


@contextmanager
def associated(scp: StorageScp) -> Iterator[socket.socket]:
    with connected(scp) as sock:
        sock.sendall(request())
        assert read_pdu(sock)[0] == pdu.ASSOCIATE_AC
        yield sock


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_an_exchange_of_two_instances_and_a_release() -> None:
    keeper = Keeper()
    with keeping(keeper) as scp, associated(scp) as sock:
        sock.sendall(message() + message(3))
        assert [read_status(sock), read_status(sock)] == [0, 0]
        sock.sendall(RELEASE)
        assert read_pdu(sock)[0] == pdu.RELEASE_RP
    assert [bytes(kept.data) for kept in keeper.instances] == [DATA, DATA]
    assert keeper.balanced


def test_values_may_be_cut_and_joined_in_every_legal_way() -> None:
    command, half = store(), len(DATA) // 2
    ways = [
        [value(1, COMMAND, command[:20]) + value(1, COMMAND | LAST, command[20:])],
        [value(1, COMMAND, command[:1]), value(1, COMMAND | LAST, command[1:])],
        [value(1, COMMAND, command), value(1, COMMAND | LAST, b"")],
        [value(1, COMMAND, b""), value(1, COMMAND | LAST, command)],
    ]
    datas = [
        [value(1, 0, DATA[:half]) + value(1, LAST, DATA[half:])],
        [value(1, 0, DATA[:half]), value(1, LAST, DATA[half:])],
        [value(1, 0, b""), value(1, 0, DATA), value(1, LAST, b"")],
        [b"".join(value(1, 0, bytes((byte,))) for byte in DATA), value(1, LAST, b"")],
    ]
    keeper = Keeper()
    with keeping(keeper) as scp, associated(scp) as sock:
        for commands in ways:
            for data in datas:
                for body in commands + data:
                    sock.sendall(pdu.encode(pdu.P_DATA_TF, body))
                assert read_status(sock) == 0
    assert [bytes(kept.data) for kept in keeper.instances] == [DATA] * 16


def test_a_connection_cut_at_any_byte_stores_nothing_and_ends_the_association() -> None:
    keeper = Keeper()
    head = request()
    whole = head + message(data=DATA[:100])
    with keeping(keeper) as scp:
        for length in range(len(whole)):
            with connected(scp) as sock:
                sock.sendall(head[:length])
                if length >= len(head):
                    assert read_pdu(sock)[0] == pdu.ASSOCIATE_AC
                    sock.sendall(whole[len(head) : length])
        until(lambda: keeper.balanced and len(keeper.admitted) == len(whole) - len(head))
        until(lambda: scp.associations() == 0)
    assert all(kept.state == "discarded" for kept in keeper.instances)
    assert keeper.instances


@pytest.mark.parametrize(
    ("sent", "source", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n", 0, 0),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), 0, 0),
        (os.urandom(7).replace(b"\x01", b"\x09") + bytes(100), 0, 0),
        (b"\x01\x00\xff\xff\xff\xff" + bytes(100), 0, 0),
        (b"\x01\x00\x00\x00\x00\x48\x00\x01" + bytes(66) + b"\x50\x00\xff\xff", 0, 0),
        (message(), 0, 0),
        (RELEASE, 0, 0),
    ],
)
def test_what_is_no_association_request_is_aborted(sent: bytes, source: int, reason: int) -> None:
    keeper = Keeper()
    with keeping(keeper, **SHORT) as scp, connected(scp) as sock:
        sock.sendall(sent)
        assert read_abort(sock) == (source, reason)
        assert read_pdu(sock)[0] == 0
    assert keeper.admitted == []


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(b"\x09" + bytes(99), 1, id="unknown PDU"),
        pytest.param(request(), 2, id="second association request"),
        pytest.param(pdu.encode_short(pdu.RELEASE_RP), 2, id="answer to no release"),
        pytest.param(b"\x04\0\0\2\0\1", 6, id="longer than advertised"),
        pytest.param(b"\x04\0\0\0\0\0", 6, id="empty P-DATA"),
        pytest.param(pdu.encode(4, b"\0\0\0\1\1\3"), 6, id="value of length 1"),
        pytest.param(pdu.encode(4, b"\0\0\1\0\1\3" + bytes(9)), 6, id="value longer than its PDU"),
        pytest.param(pdu.encode(4, value(1, 3, store()) + b"\0"), 6, id="rest behind a value"),
        pytest.param(pdu.encode(4, value(5, 3, store())), 6, id="context not accepted"),
        pytest.param(pdu.encode(4, value(1, LAST, DATA)), 5, id="data first"),
        pytest.param(
            pdu.encode(4, value(1, 3, store()) + value(3, 2, DATA)), 5, id="other context"
        ),
        pytest.param(pdu.encode(4, value(1, 3, store()) * 2), 5, id="command instead of data"),
        pytest.param(pdu.encode(4, value(1, 3, b"\0" * 9)), 6, id="command cut off"),
        pytest.param(pdu.encode(4, value(1, 3, b"\1\0" * 50)), 6, id="command of another group"),
        pytest.param(pdu.encode(4, value(1, 1, DATA) * 32) * 3, 6, id="command without end"),
        pytest.param(
            pdu.encode(4, value(1, 3, dimse.response(dimse.decode(store()), 0))), 5, id="response"
        ),
    ],
)
def test_what_the_standard_does_not_allow_is_aborted_with_its_reason(
    sent: bytes, reason: int
) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        with associated(scp) as sock:
            sock.sendall(sent)
            assert read_abort(sock) == (2, reason)
        until(lambda: keeper.balanced and scp.associations() == 0)
    assert all(kept.state == "discarded" for kept in keeper.instances)


@pytest.mark.parametrize(
    ("sent", "rejection"),
    [
        (request(protocol_version=2), (1, 2, 2)),
        (request(application_context="1.2.3"), (1, 1, 2)),
    ],
)
def test_requests_that_cannot_be_met_are_rejected(
    sent: bytes, rejection: tuple[int, int, int]
) -> None:
    with keeping(Keeper()) as scp, connected(scp) as sock:
        sock.sendall(sent)
        kind, body = read_pdu(sock)
    assert (kind, *body[1:]) == (pdu.ASSOCIATE_RJ, *rejection)


@pytest.mark.parametrize(
    ("prefix", "words"),
    [(b"", "between"), (message()[:200], "within"), (b"\x04\0\0", "within a header")],
)
def test_silence_in_an_association_ends_it(prefix: bytes, words: str) -> None:
    keeper = Keeper()
    with keeping(keeper, **SHORT) as scp:
        with associated(scp) as sock:
            sock.sendall(prefix)
            assert read_abort(sock) == (0, 0), words
        until(lambda: keeper.balanced)


def test_a_silence_may_be_as_long_as_is_configured_however_short_the_waits_before_were() -> None:
    keeper = Keeper()
    with keeping(keeper, acse_timeout=2.0, idle_timeout=2.5) as scp, connected(scp) as sock:
        for byte in request()[:20]:
            sock.sendall(bytes((byte,)))
            threading.Event().wait(0.05)
        sock.sendall(request()[20:])
        assert read_pdu(sock)[0] == pdu.ASSOCIATE_AC
        began = time.monotonic()
        assert read_abort(sock) == (0, 0)
        assert time.monotonic() - began > 2.4  # less a clock's tick
        until(lambda: keeper.balanced)


def test_silence_before_an_association_ends_in_time_even_when_bytes_drip() -> None:
    keeper = Keeper()
    with keeping(keeper, **SHORT) as scp, connected(scp) as sock:
        stop = threading.Event()

        def drip() -> None:
            for byte in request():
                if stop.wait(0.05):
                    return
                try:
                    sock.sendall(bytes((byte,)))
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        assert read_abort(sock) == (0, 0)
        stop.set()
        thread.join()
    assert keeper.admitted == []


def test_many_connections_without_a_word_cost_little_and_leave_nothing() -> None:
    keeper = Keeper()
    files, threads = open_files(), threading.active_count()
    with keeping(keeper, acse_timeout=20) as scp:
        silent = [socket.create_connection(scp.address, timeout=10) for _ in range(300)]
        until(lambda: threading.active_count() < threads + 80)
        with associated(scp) as sock:
            sock.sendall(message())
            assert read_status(sock) == 0
        for sock in silent:
            sock.close()
        until(lambda: threading.active_count() <= threads + 1)
    until(lambda: open_files() <= files)
    assert threading.active_count() <= threads
    assert keeper.balanced


def test_a_command_that_is_not_ours_is_answered_and_its_data_read_over() -> None:
    find = dimse.store_request(9, "1.2.840.10008.5.1.4.1.2.2.1", "").replace(
        b"\x00\x01\x02\0\0\0\x01\0", b"\x00\x01\x02\0\0\0\x20\0"
    )
    keeper = Keeper()
    with keeping(keeper) as scp, associated(scp) as sock:
        sock.sendall(pdu.encode(4, value(1, 3, find) + value(1, 2, DATA)))
        assert read_status(sock) == 0x0211
        sock.sendall(message())
        assert read_status(sock) == 0
    assert len(keeper.instances) == 1


@pytest.mark.parametrize("uid", ["", "../../etc/passwd", "1.2\\3", "1" * 65, "a b"])
def test_an_instance_that_cannot_be_named_is_refused_and_the_association_kept(uid: str) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp, associated(scp) as sock:
        sock.sendall(pdu.encode(4, value(1, 3, store(uid=uid)) + value(1, 2, DATA)))
        assert read_status(sock) == 0x0117
        sock.sendall(message())
        assert read_status(sock) == 0


def test_a_peer_with_tiny_pdus_gets_its_answer_in_pieces() -> None:
    keeper = Keeper()
    body = request().replace(b"\x51\0\0\4\0\0\x40\0", b"\x51\0\0\4\0\0\0\x14")
    with keeping(keeper) as scp, connected(scp) as sock:
        sock.sendall(body)
        assert read_pdu(sock)[0] == pdu.ASSOCIATE_AC
        sock.sendall(message())
        command, control = b"", 0
        while not control & LAST:
            kind, answer = read_pdu(sock)
            assert kind == pdu.P_DATA_TF
            assert len(answer) <= 20
            control = answer[5]
            command += answer[6:]
    assert dimse.decode(command).status == 0


def test_noise_never_kills_the_scp() -> None:
    keeper = Keeper()
    with keeping(keeper, **SHORT) as scp:
        for _ in range(50):
            with associated(scp) as sock:
                try:
                    sock.sendall(os.urandom(500))
                    sock.sendall(b"\x04\0\0\0\x01\xf4" + os.urandom(500))
                except OSError:
                    continue
        with associated(scp) as sock:
            sock.sendall(message())
            assert read_status(sock) == 0
        until(lambda: keeper.balanced)
