"""What a receiver and its workers say to each other arrives whole, or not at all."""

import os
import socket
from collections.abc import Iterator

import pytest

from crossdock.dicom.storage_scp import LOCAL_LIMIT_EXCEEDED, Caller
from receiver.workers.channel import Channel
from receiver.workers.words import Admit, Admitted, Closed, Configure, Serve


CALLER = Caller("a1", "CT\\1", "GATE", "::1", 104, ("ct.hospital",))


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    first, second = map(Channel, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    yield first, second
    first.close()
    second.close()


def test_words_arrive_as_they_were_said_in_their_order(ends: tuple[Channel, Channel]) -> None:
    said = [
        Serve(store_node="main", address=("::1", 104)),
        Admit(store_node="main", caller=CALLER),
        Admitted(association="a1", rejection=LOCAL_LIMIT_EXCEEDED),
        Admitted(association="a2", rejection=None),
        Closed(),
    ]
    for words in said:
        ends[0].send(words)
    assert [ends[1].receive() for _ in said] == [(words, None) for words in said]


def test_an_open_file_comes_with_its_own_words(ends: tuple[Channel, Channel]) -> None:
    reader, writer = os.pipe()
    ends[0].send(Closed())
    ends[0].send(Configure(revision=7), reader)
    os.close(reader)
    assert ends[1].receive() == (Closed(), None)
    received = ends[1].receive()
    assert received is not None
    words, descriptor = received
    assert words == Configure(revision=7)
    assert descriptor is not None
    os.write(writer, b"nodes")
    assert os.read(descriptor, 10) == b"nodes"
    os.close(descriptor)
    os.close(writer)


def test_who_does_not_listen_holds_nobody_up(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(BlockingIOError, match="does not listen"):  # noqa: PT012 — at some point
        while True:
            ends[0].send(Closed(), seconds=0.0)
    assert ends[1].receive() == (Closed(), None)


def test_what_is_too_long_is_not_sent(ends: tuple[Channel, Channel]) -> None:
    names = tuple(f"host{number}.hospital" for number in range(10_000))
    caller = Caller("a1", "CT1", "GATE", "::1", 104, names)
    with pytest.raises(OSError, match="too long"):
        ends[0].send(Admit(store_node="main", caller=caller))
    ends[0].send(Closed())
    assert ends[1].receive() == (Closed(), None)


def test_the_end_of_the_other_process_is_heard(ends: tuple[Channel, Channel]) -> None:
    ends[0].send(Closed())
    ends[0].close()
    assert ends[1].receive() == (Closed(), None)
    assert ends[1].receive() is None
    with pytest.raises(OSError, match="Broken pipe"):
        ends[1].send(Closed())
