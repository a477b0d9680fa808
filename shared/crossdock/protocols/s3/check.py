"""Tries a store stage by stage, as far as a delivery would go."""

import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.request import getproxies, proxy_bypass

from crossdock.config.targets import S3Target
from crossdock.dicom.errors import TlsMisconfigured
from crossdock.dicom.tls import TlsFiles, own_client_context, peer_certificate, words_of
from crossdock.errors import ErrorKind
from crossdock.model import CheckReport
from crossdock.protocols import network
from crossdock.protocols.s3.answers import CREDENTIALS
from crossdock.protocols.s3.body import Body
from crossdock.protocols.s3.errors import ObjectRefused, StoreFailed
from crossdock.protocols.stages import Found, Stage, StageFailed, StageSkipped, run_stages


if TYPE_CHECKING:
    from crossdock.protocols.s3.store import Store


T = TypeVar("T")

_PROBE = ".crossdock-check"
_CONTENT = b"Crossdock wrote this to check the target. It may be deleted.\n"
_TLS_ADVICE = "compare ca, host name and certificate with the store's"


class Check:
    """One check of a store."""

    def __init__(self, target: S3Target, store: Callable[[], "Store"]) -> None:
        self._target = target
        self._store = store
        self._host, self._port = target.address
        self._socket: socket.socket | None = None

    def report(self) -> CheckReport:
        """Run the stages: resolve, ping, connect, tls, authenticate, bucket and authorise."""
        try:
            return run_stages(
                (
                    *(self._by_proxy() if self._proxied() else self._direct()),
                    ("authenticate", self._authenticate),
                    ("bucket", self._bucket),
                    ("authorise", self._authorise),
                )
            )
        finally:
            if self._socket is not None:
                self._socket.close()

    def _direct(self) -> tuple[Stage, ...]:
        tls = (("tls", self._tls),) if self._target.url.startswith("https:") else ()
        return (
            ("resolve", lambda: network.resolve(self._host, self._port)),
            ("ping", lambda: network.ping(self._host, self._port)),
            ("connect", self._connect),
            *tls,
        )

    def _by_proxy(self) -> tuple[Stage, ...]:
        def skip() -> str:
            raise StageSkipped("through the proxy of this machine's environment")

        return tuple((name, skip) for name in ("resolve", "ping", "connect"))

    def _proxied(self) -> bool:
        return self._target.url.partition(":")[0] in getproxies() and not proxy_bypass(self._host)

    def _connect(self) -> str:
        try:
            self._socket = socket.create_connection(
                (self._host, self._port), self._target.connect_timeout
            )
        except OSError as error:
            words = (error.strerror or "no answer in time").lower()
            advice = "is the store running, and are endpoint and firewall right?"
            raise StageFailed(f"cannot connect to port {self._port}: {words}", advice) from error
        encrypted = "" if self._target.url.startswith("https:") else "; nothing is encrypted"
        return f"connected to port {self._port}{encrypted}"

    def _tls(self) -> Found:
        assert self._socket is not None  # noqa: S101 — the stage before made it
        self._socket.settimeout(self._target.timeout)
        try:
            context = own_client_context(TlsFiles(ca=self._target.ca))
            self._socket = sock = context.wrap_socket(self._socket, server_hostname=self._host)
        except TlsMisconfigured as error:
            raise StageFailed(str(error), "mend the file, on this machine") from error
        except ssl.SSLError as error:
            raise StageFailed(words_of(error), _TLS_ADVICE) from error
        except OSError as error:
            words = (error.strerror or "no answer in time").lower()
            raise StageFailed(f"no TLS there: {words}", _TLS_ADVICE) from error
        return network.secured(sock.version() or "TLS", peer_certificate(sock))

    def _authenticate(self) -> str:
        whose = "target" if self._target.access_key is not None else "dispatcher's environment"
        try:
            self._store().introduce()
        except ObjectRefused:
            pass  # an answer to a question that it need not know
        except StoreFailed as error:
            if not error.code or error.temporary or error.code in CREDENTIALS:
                raise StageFailed(error.found, error.advice) from error
        return f"the store does not object to the credentials of the {whose}"

    def _bucket(self) -> str:
        try:
            self._store().look()
        except StoreFailed as error:
            if error.kind is ErrorKind.UNAUTHORISED:
                raise StageSkipped(
                    f"looking at bucket {self._target.bucket} is not permitted, and not needed"
                ) from error
            raise StageFailed(error.found, error.advice) from error
        except ObjectRefused as error:
            raise StageSkipped(f"the store does not tell ({error.status})") from error
        return f"bucket {self._target.bucket} is there"

    def _authorise(self) -> str:
        """Write, read and delete a small object that says what it is; always the same one."""
        prefix = f"{self._target.prefix}/" if self._target.prefix else ""
        key = f"{prefix}{_PROBE}-{self._target.name}"
        answer = _explained(
            lambda: self._store().put(key, Body(_CONTENT, threading.Event()), "text/plain"),
            f"bucket {self._target.bucket} can be reached, but writing there fails: ",
        )
        read = self._read(key)
        deleted = self._delete(key, answer.get("VersionId"))
        return f"an object could be written{read}{deleted}"

    def _read(self, key: str) -> str:
        try:
            content = self._store().get(key)
        except (StoreFailed, ObjectRefused):  # deliveries do not read
            return "; reading it was refused, which is not needed"
        if content != _CONTENT:
            raise StageFailed(
                "an object that was written reads otherwise", "look at the store's log"
            )
        return ", read"

    def _delete(self, key: str, version: str | None) -> str:
        try:
            self._store().delete(key, version)
        except (StoreFailed, ObjectRefused) as error:
            if not isinstance(error, StoreFailed) or not error.temporary:
                return f"; deleting it was refused, so {key} stays in the bucket"
            raise StageFailed(error.found, error.advice) from error
        return " and deleted"


def _explained(call: Callable[[], T], before: str) -> T:
    try:
        return call()
    except StoreFailed as error:
        raise StageFailed(before + error.found, error.advice) from error
    except ObjectRefused as error:
        raise StageFailed(
            f"{before}{error.detail} ({error.status})", "look at the store's log"
        ) from error
