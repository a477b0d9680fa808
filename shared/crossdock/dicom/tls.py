"""TLS for associations: contexts that follow their files, and TLS's errors in plain words.

The profiles are those of PS3.15 B.12 and B.13 (BCP 195: RFC 8996 and 9325): TLS 1.2 or newer, forward
secrecy, authenticated encryption, no renegotiation and no compression.
"""

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from crossdock.dicom.errors import TlsMisconfigured


_log = structlog.get_logger(__name__)

ContextSource = Callable[[], ssl.SSLContext]
"""Returns the context for a connection that begins now."""

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
_NO_ISSUER: Final = (2, 18, 19, 20, 21)  # X509_V_ERR_…: the chain ends at nobody who is trusted
_OF_LOADING: Final = {
    "KEY_VALUES_MISMATCH": "key and certificate do not belong together",
    "NO_START_LINE": "there is no PEM in it",
    "PEM_LIB": "it is no PEM certificate and key",
    "EE_KEY_TOO_SMALL": "its key is shorter than 2048 bits (RSA) or 224 bits (EC)",
    "CA_MD_TOO_WEAK": "it is signed with an algorithm that is too weak",
}
_LOCKED: Final = "the key needs a password: name its file in key_password_file"
_NOT_OPENED: Final = "the key cannot be opened with its password"
_OF_TALKING: Final = {
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS",
    "RECORD_LAYER_FAILURE": "the peer does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "the peer does not speak TLS",
    "HTTP_REQUEST": "the peer speaks HTTP, not TLS",
    "UNEXPECTED_EOF_WHILE_READING": "the peer closed the connection; does it speak TLS there?",
    "UNSUPPORTED_PROTOCOL": "the peer's TLS version is too old",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer wants another TLS version",
    "NO_SHARED_CIPHER": "no cipher suite in common",
    "NO_PROTOCOLS_AVAILABLE": "no TLS version in common",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer refused: no cipher suite in common, or it wants a certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the CA of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not take our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not take our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer does not take our kind of certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the peer says that our certificate is revoked",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer requires a certificate of us",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer showed no certificate",
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where certificates and keys are, in PEM, and what is asked of the peer.

    ``ca`` is whom to trust, for a client the system's CAs if it is None. A server asks for a
    ``client_certificate``; a client does ``check_hostname`` against the server's one.
    """

    certificate: str | None = None
    key: str | None = None
    key_password_file: str | None = None
    ca: str | None = None
    client_certificate: Literal["required", "optional", "none"] = "none"
    check_hostname: bool = True
    minimum_version: Literal["1.2", "1.3"] = "1.2"

    def stamp(self) -> tuple[tuple[int, ...], ...]:
        """Return what changes whenever one of the files does; a missing one is a stamp, too."""
        return tuple(map(_stamp, (self.certificate, self.key, self.key_password_file, self.ca)))


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The certificate that a peer proved to own.

    ``names`` are its common name and all alternative names; ``expires`` is a Unix time.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    expires: float

    def days_left(self, now: float) -> int:
        """Return for how many whole days it is still valid."""
        return int((self.expires - now) // 86400)


class ServerContext:
    """The context of a listening port. Called for each connection, it follows its files.

    What cannot be used is logged once, and the last good context stays: files that are being
    replaced do not fit to each other for a moment.

    Raises:
        TlsMisconfigured: at first the files must be usable.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._stamp = files.stamp()
        self._context = server_context(files)

    def __call__(self) -> ssl.SSLContext:
        """Return the context for a connection that begins now."""
        stamp = self._files.stamp()
        with self._lock:
            if stamp != self._stamp:
                self._stamp = stamp
                self._renew()
            return self._context

    def _renew(self) -> None:
        try:
            self._context = server_context(self._files)
        except TlsMisconfigured as error:
            _log.error("tls.not_reloaded", certificate=self._files.certificate, reason=str(error))
        else:
            _log.info("tls.reloaded", certificate=self._files.certificate)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a new context for the accepting side.

    Raises:
        TlsMisconfigured: a file is missing or of no use; the message says which and why.
    """
    context = _context(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
    # Tickets would be the only bytes that a server sends by itself, and nobody resumes sessions.
    context.num_tickets = 0
    context.verify_mode = _VERIFY[files.client_certificate]
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context for the connecting side, made anew when one of its files has changed.

    Raises:
        TlsMisconfigured: a file is missing or of no use; the message says which and why.
    """
    return _client_context(files, files.stamp())


@lru_cache(maxsize=64)
def _client_context(files: TlsFiles, _stamp: tuple[tuple[int, ...], ...]) -> ssl.SSLContext:
    return own_client_context(files)


def own_client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a new context for the connecting side, for a library that changes what it is given.

    Raises:
        TlsMisconfigured: a file is missing or of no use; the message says which and why.
    """
    context = _context(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)
    context.check_hostname = files.check_hostname
    if files.ca is None:
        context.load_default_certs()
    return context


def peer_certificate(sock: ssl.SSLSocket) -> PeerCertificate | None:
    """Return the peer's certificate if it showed one that is trusted."""
    said: Mapping[str, Any] | None = sock.getpeercert()
    if not said:
        return None
    common_names = [
        value for part in said.get("subject", ()) for key, value in part if key == "commonName"
    ]
    others = [str(value) for _, value in said.get("subjectAltName", ())]
    return PeerCertificate(
        subject=_name(said.get("subject", ())),
        issuer=_name(said.get("issuer", ())),
        names=tuple(dict.fromkeys([*common_names, *others])),
        expires=ssl.cert_time_to_seconds(said["notAfter"]) if "notAfter" in said else time.time(),
    )


def words_of(error: ssl.SSLError) -> str:
    """Return what went wrong with TLS, for people: what, and what to look at."""
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "; is the CA that signed it in our ca file?"
        return f"certificate not trusted: {error.verify_message.rstrip('.')}" + (
            advice if error.verify_code in _NO_ISSUER else ""
        )
    reason = error.reason or ("UNEXPECTED_EOF_WHILE_READING" if _is_end(error) else "TLS failed")
    return _OF_TALKING.get(reason) or reason.replace("_", " ").lower()


def _is_end(error: ssl.SSLError) -> bool:
    return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _context(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = VERSIONS[files.minimum_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(CIPHERS)
    if files.certificate is not None:
        _load_certificate(context, files)
    if files.ca is not None:
        _readable("ca", files.ca)
        try:
            context.load_verify_locations(files.ca)
        except (OSError, ssl.SSLError) as error:
            raise TlsMisconfigured(f"ca {files.ca}: {_of_loading(error)}") from None
    return context


def _load_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    assert files.certificate is not None  # noqa: S101 — checked by the caller
    pem = _readable("certificate", files.certificate)
    if files.key is not None:
        pem = _readable("key", files.key)
    password = ""
    if files.key_password_file is not None:
        password = _readable("key_password_file", files.key_password_file).decode().strip("\r\n")
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: password)
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = _of_loading(error)
        if b"ENCRYPTED" in pem:
            reason = _NOT_OPENED if password else _LOCKED
        raise TlsMisconfigured(f"certificate {files.certificate}: {reason}") from None


def _readable(what: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsMisconfigured(f"{what} {path}: {error.strerror}") from None


def _of_loading(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return _OF_LOADING.get(reason) or str(reason).replace("_", " ").lower()


def _stamp(path: str | None) -> tuple[int, ...]:
    if path is None:
        return ()
    try:
        status = Path(path).stat()
    except OSError:
        return (-1,)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _name(parts: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    return ", ".join(f"{key}={value}" for part in parts for key, value in part)
