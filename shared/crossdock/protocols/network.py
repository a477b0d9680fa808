"""The first stages of a check that are the same for every target on a network."""

import os
import socket
import ssl
import struct
import time
from typing import Any

from crossdock.dicom.tls import PeerCertificate, peer_certificate, words_of
from crossdock.protocols.stages import Found, StageFailed, StageSkipped


_PING_SECONDS = 2.0
_EXPIRES_SOON = 30  # days: from then on a check says so
_ECHO_REQUEST: dict[int, int] = {
    socket.AF_INET: 8,
    socket.AF_INET6: 128,
}  # ICMP types: RFC 792, RFC 4443
_PROTOCOL: dict[int, int] = {
    socket.AF_INET: socket.IPPROTO_ICMP,
    socket.AF_INET6: socket.IPPROTO_ICMPV6,
}


def resolve(host: str, port: int) -> str:
    """Say which addresses a host has.

    Raises:
        StageFailed: it has none.
    """
    addresses = dict.fromkeys(str(address[0]) for _, address in _found(host, port))
    return f"{host} is {', '.join(addresses)}"


def ping(host: str, port: int) -> str:
    """Say whether a host answers ICMP echo requests, which need not mean anything.

    Raises:
        StageSkipped: it does not answer, or this process may not ask.
    """
    family, address = _found(host, port)[0]
    try:
        with socket.socket(family, socket.SOCK_DGRAM, _PROTOCOL[family]) as sock:
            began = time.perf_counter()
            packet = struct.pack(">BBHHH", _ECHO_REQUEST[family], 0, 0, os.getpid() & 0xFFFF, 1)
            sock.settimeout(_PING_SECONDS)
            sock.sendto(_with_checksum(packet), address)
            sock.recv(1500)
            return f"answered a ping in {(time.perf_counter() - began) * 1000:.1f} ms"
    except TimeoutError:
        words = "no answer to a ping; many networks do not let it through"
        raise StageSkipped(words) from None
    except (OSError, KeyError):
        raise StageSkipped("pings are not permitted here") from None


def connected(place: tuple[str, int], seconds: float, advice: str) -> socket.socket:
    """Return a connection to a host and port.

    Raises:
        StageFailed: there is none within ``seconds``; with ``advice``.
    """
    try:
        return socket.create_connection(place, seconds)
    except OSError as error:
        words = (error.strerror or "no answer in time").lower()
        raise StageFailed(f"cannot connect to port {place[1]}: {words}", advice) from error


def handshaken(
    sock: socket.socket, context: ssl.SSLContext, host: str, seconds: float, advice: str
) -> ssl.SSLSocket:
    """Return a connection over TLS to ``host``, which takes the plain one's place.

    Raises:
        StageFailed: there is none, whose every wait may take ``seconds``; with ``advice``.
    """
    sock.settimeout(seconds)
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except ssl.SSLError as error:
        raise StageFailed(words_of(error), advice) from error
    except OSError as error:
        words = (error.strerror or "no answer in time").lower()
        raise StageFailed(f"no TLS there: {words}", advice) from error


def of_handshake(sock: ssl.SSLSocket) -> Found:
    """Say what a handshake came to, as ``secured`` does."""
    cipher = sock.cipher()
    spoken = f"{cipher[1]} {cipher[0]}" if cipher else "TLS"
    return secured(spoken, peer_certificate(sock))


def secured(spoken: str, certificate: PeerCertificate | None) -> Found:
    """Say what TLS came to: the version and cipher spoken, and the peer's certificate."""
    if certificate is None:
        return Found(spoken)
    days = certificate.days_left(time.time())
    hint = ": have it renewed" if days < _EXPIRES_SOON else ""
    detail = (
        f"{spoken}; certificate of {certificate.subject}, issued by {certificate.issuer},"
        f" expires in {days} days{hint}; it is for {', '.join(certificate.names)}"
    )
    return Found(detail, days)


def _found(host: str, port: int) -> list[tuple[int, Any]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        words = getattr(error, "strerror", None) or "not a host name"
        advice = "is the host name right, and name service up?"
        raise StageFailed(f"{host}: {words}", advice) from error
    return [(family, address) for family, *_, address in found]


def _with_checksum(packet: bytes) -> bytes:
    """Return an ICMP packet with its checksum (RFC 1071); IPv6's kernel makes its own."""
    total = sum(struct.unpack(f">{len(packet) // 2}H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return packet[:2] + struct.pack(">H", checksum) + packet[4:]
