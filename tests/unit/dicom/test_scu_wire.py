"""Our storage SCU against peers that stop, fall silent or break the rules, byte by byte."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from crossdock.dicom import associate, dimse, negotiation, pdu
from crossdock.dicom.errors import AssociationAborted, PeerTimeout, ProtocolError
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.pdu import COMMAND, LAST, Fragment, PduStream
from crossdock.dicom.storage_scu import StorageScu
from servers.samples import sample
from waiting import until


CT = sample("CT_small.dcm")
META = read_file_meta(CT)
CONTEXTS = [(META.sop_class_uid, [META.transfer_syntax_uid])]
REQUEST = dimse.decode(dimse.store_request(1, META.sop_class_uid, META.sop_instance_uid))
ANSWER = pdu.encode_command(1, dimse.response(REQUEST, 0), 16384)
RELEASED = pdu.encode_short(pdu.RELEASE_RP)

Reply = Callable[[str, bytes], bytes]
"""Gets what was asked (associate, store, release) and the right answer; returns what is said."""


class Peer:
    """A storage SCP that keeps nothing and says what ``reply`` makes of the right answers."""

    def __init__(self, server: socket.socket, reply: Reply) -> None:
        self.port: int = server.getsockname()[1]
        self.heard: list[int] = []
        self.aborted: tuple[int, int] | None = None
        self._reply = reply
        self._server = server
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self._server.accept()
            connection.settimeout(20)
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        stream, tail = PduStream(0), b""
        while received := connection.recv(65536):
            data = tail + received
            items, used = stream.feed(memoryview(data))
            tail = data[used:]
            for item in items:
                if isinstance(item, Fragment):
                    if item.control == LAST:
                        connection.sendall(self._reply("store", ANSWER))
                elif item.type == pdu.ABORT:
                    self.aborted = (item.body[2], item.body[3])
                else:
                    self.heard.append(item.type)
                    connection.sendall(self._answer(item))

    def _answer(self, item: pdu.Pdu) -> bytes:
        if item.type == pdu.RELEASE_RQ:
            return self._reply("release", RELEASED)
        answer = negotiation.answer(associate.decode(item.body), 16384)
        return self._reply(
            "associate", pdu.encode(pdu.ASSOCIATE_AC, associate.encode_answer(answer))
        )


@contextmanager
def peer(reply: Reply) -> Iterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        running = Peer(server, reply)
        try:
            yield running
        finally:
            running.thread.join(60)
            assert not running.thread.is_alive()


def scu_to(port: int) -> StorageScu:
    return StorageScu(
        "127.0.0.1",
        port,
        called_ae_title="PEER",
        calling_ae_title="US",
        acse_timeout=1.0,
        dimse_timeout=1.0,
    )


def instead(asked: str, said: bytes) -> Reply:
    """Say something else to one question, and the right thing to the others."""
    return lambda question, answer: said if question == asked else answer


def transfer(port: int) -> str:
    """Associate, store and release; return how far it came."""
    with scu_to(port) as scu:
        try:
            scu.associate(CONTEXTS)
        except AssociationAborted:
            return "associate"
        try:
            assert scu.store(CT, META) == 0
        except AssociationAborted:
            return "store"
    return "released"


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_connection_cut_at_any_byte_of_the_answers_ends_where_it_was_cut() -> None:
    lengths: dict[str, int] = {}

    def measure(question: str, answer: bytes) -> bytes:
        lengths[question] = len(answer)
        return answer

    with peer(measure) as measured:
        assert transfer(measured.port) == "released"
    before, threads = files(), threading.active_count()
    first, second = lengths["associate"], lengths["associate"] + lengths["store"]
    for said in range(second + lengths["release"]):
        with cut_after(said) as port:
            came = transfer(port)
        expected = "associate" if said < first else "store" if said < second else "released"
        assert came == expected, said
    until(lambda: files() <= before)
    assert threading.active_count() == threads


@contextmanager
def cut_after(count: int) -> Iterator[int]:
    """Run a peer that closes the connection after so many bytes of its answers."""
    left = count

    def serve() -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                running = Cut(connection, left)
                with suppress(ConnectionError):
                    running.talk()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join(60)


class Cut(Peer):
    """Talks on a connection that is there, and says only so many bytes."""

    def __init__(self, connection: socket.socket, left: int) -> None:
        self.heard = []
        self.aborted = None
        self._connection = connection
        self._left = left
        self._reply = self._stint

    def talk(self) -> None:
        if self._left:
            self._talk(self._connection)

    def _stint(self, _question: str, answer: bytes) -> bytes:
        if len(answer) < self._left:
            self._left -= len(answer)
            return answer
        self._connection.sendall(answer[: self._left])
        raise ConnectionError


def test_a_peer_that_never_answers_a_request_is_given_up_in_time() -> None:
    began = time.monotonic()
    with (
        peer(instead("associate", b"")) as silent,
        scu_to(silent.port) as scu,
        pytest.raises(PeerTimeout),
    ):
        scu.associate(CONTEXTS)
    assert time.monotonic() - began < 60


def test_a_peer_that_never_answers_a_store_is_aborted_in_time() -> None:
    began = time.monotonic()
    with peer(instead("store", b"")) as silent, scu_to(silent.port) as scu:
        scu.associate(CONTEXTS)
        with pytest.raises(PeerTimeout):
            scu.store(CT, META)
    assert time.monotonic() - began < 60
    assert silent.aborted == (0, 0)


def test_a_peer_that_never_answers_a_release_is_left_in_time() -> None:
    began = time.monotonic()
    with peer(instead("release", b"")) as silent, scu_to(silent.port) as scu:
        scu.associate(CONTEXTS)
        assert scu.store(CT, META) == 0
    assert time.monotonic() - began < 60


def test_a_peer_that_drips_its_answer_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                while not stop.wait(0.05):
                    connection.sendall(b"\x02\0\0\0\x01\0"[:1])

        thread = threading.Thread(target=drip)
        thread.start()
        with scu_to(server.getsockname()[1]) as scu, pytest.raises((PeerTimeout, ProtocolError)):
            scu.associate(CONTEXTS)
        stop.set()
        thread.join()


@pytest.mark.parametrize("max_length", [16384, 131072], ids=["copied", "sent by the kernel"])
def test_a_peer_that_takes_nothing_of_an_instance_is_given_up_in_time(
    tmp_path: Path, max_length: int
) -> None:
    large = tmp_path / "large.dcm"
    large.write_bytes(CT.read_bytes())
    os.truncate(large, 64_000_000)
    over = threading.Event()

    def associate_only() -> None:
        connection, _ = server.accept()
        with connection:
            items, _ = PduStream(0).feed(memoryview(connection.recv(65536)))
            assert isinstance(items[0], pdu.Pdu)
            answer = negotiation.answer(associate.decode(items[0].body), max_length)
            connection.sendall(pdu.encode(pdu.ASSOCIATE_AC, associate.encode_answer(answer)))
            over.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=associate_only)
        thread.start()
        began = time.monotonic()
        with scu_to(server.getsockname()[1]) as scu:
            scu.associate(CONTEXTS)
            with pytest.raises(PeerTimeout, match="progress in sending"):
                scu.store(large, read_file_meta(large))
        assert time.monotonic() - began < 60
        over.set()
        thread.join()


def value(context_id: int, control: int, data: bytes) -> bytes:
    body = struct.pack(">IBB", len(data) + 2, context_id, control) + data
    return pdu.encode(pdu.P_DATA_TF, body)


RESPONSE = dimse.response(REQUEST, 0)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\x09" + bytes(99), id="unknown PDU"),
        pytest.param(b"\x04\x00\x7f\xff\xff\xff\x00\x00\x00\x10\x01\x03", id="too long a PDU"),
        pytest.param(b"\x04\x00\x00\x00\x00\x00", id="empty PDU"),
        pytest.param(pdu.encode(4, b"\0\0\0\0\1\3"), id="value of length 0"),
        pytest.param(value(1, LAST, RESPONSE), id="data without a command"),
        pytest.param(value(1, COMMAND | LAST, RESPONSE[:-3]), id="command cut off"),
        pytest.param(value(1, COMMAND | LAST, b"\1\0" * 20), id="command of another group"),
        pytest.param(value(1, COMMAND, b"\0" * 16000) * 5, id="command without end"),
        pytest.param(pdu.encode_short(pdu.RELEASE_RP), id="answer to no release"),
        pytest.param(pdu.encode(pdu.ASSOCIATE_AC, bytes(68)), id="second acceptance"),
    ],
)
def test_what_the_standard_does_not_allow_ends_the_association(said: bytes) -> None:
    with peer(instead("store", said)) as broken, scu_to(broken.port) as scu:
        scu.associate(CONTEXTS)
        with pytest.raises(ProtocolError):
            scu.store(CT, META)
    assert broken.aborted is not None


def test_values_of_no_length_are_read_over() -> None:
    said = value(1, COMMAND, b"") + ANSWER
    with peer(instead("store", said)) as odd, scu_to(odd.port) as scu:
        scu.associate(CONTEXTS)
        assert scu.store(CT, META) == 0


def test_an_answer_to_another_message_is_not_taken_for_ours() -> None:
    other = dimse.decode(dimse.store_request(77, META.sop_class_uid, "1.2.3"))
    said = pdu.encode_command(1, dimse.response(other, 0), 16384)
    with peer(instead("store", said)) as confused, scu_to(confused.port) as scu:
        scu.associate(CONTEXTS)
        with pytest.raises(PeerTimeout):
            scu.store(CT, META)


@pytest.mark.parametrize("said", [b"\x02\0\0\0\0\x44" + bytes(68) + b"x", bytes(80)])
def test_an_acceptance_that_is_none_is_no_association(said: bytes) -> None:
    with peer(instead("associate", said)) as broken, scu_to(broken.port) as scu:
        with suppress(ProtocolError):
            scu.associate(CONTEXTS)
        assert not scu.accepted(*CONTEXTS[0][:1], META.transfer_syntax_uid)
