"""Damaged conversations with a real storage SCP, over a real connection."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from crossdock.dicom import pdu
from crossdock.dicom.storage_scp import Caller, StorageScp
from fuzz.damage import damaged
from fuzz.subjects import messages, requests


class Forgetful:
    """A storage handler that keeps nothing, but counts."""

    def __init__(self) -> None:
        self.admitted = 0
        self.over = 0
        self.open = 0

    def admit(self, _caller: Caller) -> None:
        self.admitted += 1

    def begin(self, _caller: Caller, *_uids: str) -> "Forgetful":
        self.open += 1
        return self

    def ended(self, _caller: Caller) -> None:
        self.over += 1

    def write(self, chunks: Sequence[memoryview]) -> None:
        """Keep nothing."""

    def commit(self) -> int:
        self.open -= 1
        return 0

    def discard(self) -> None:
        self.open -= 1


def converse(scp: StorageScp, random: Random) -> None:
    """Say something damaged, read what is answered, and hang up."""
    request, rest = random.choice(requests()), random.choice(messages())
    if random.random() < 0.2:
        request = damaged(request, random)
    else:
        rest = damaged(rest, random)
    with socket.create_connection(scp.address, timeout=10) as sock, suppress(ConnectionError):
        sock.sendall(request)
        if len(request) < 6 or len(request) < 6 + int.from_bytes(request[2:6], "big"):
            return  # it waits for more
        sock.recv(65536)
        sock.sendall(rest)
        if random.random() < 0.5:
            sock.sendall(pdu.encode_short(pdu.ABORT))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
