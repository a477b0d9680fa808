"""Tries a store stage by stage, as far as a delivery would go."""

import socket
import threading
from collections.abc import Callable
from urllib.request import getproxies, proxy_bypass

from crossdock.config.targets import S3Target
from crossdock.dicom.errors import TlsMisconfigured
from crossdock.errors import ErrorKind
from crossdock.model import CheckReport
from crossdock.protocols import network
from crossdock.protocols.failures import InstanceRefused
from crossdock.protocols.s3.answers import CREDENTIALS
from crossdock.protocols.s3.body import Body
from crossdock.protocols.s3.errors import StoreFailed
from crossdock.protocols.s3.failures import PEER_ADVICE, TLS_ADVICE
from crossdock.protocols.s3.store import Store
from crossdock.protocols.s3.transport import tls_context
from crossdock.protocols.stages import (
    Found,
    Stage,
    StageFailed,
    StageSkipped,
    explained,
    run_stages,
)


_PROBE = ".crossdock-check"
_CONTENT = b"Crossdock wrote this to check the target. It may be deleted.\n"


class Check:
    """One check of a store."""

    def __init__(self, target: S3Target, store: Callable[[], Store]) -> None:
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
        place = (self._host, self._port)
        self._socket = network.connected(place, self._target.connect_timeout, PEER_ADVICE)
        encrypted = "" if self._target.url.startswith("https:") else "; nothing is encrypted"
        return f"connected to port {self._port}{encrypted}"

    def _tls(self) -> Found:
        assert self._socket is not None  # noqa: S101 — the stage before made it
        try:
            context = tls_context(self._target)
        except TlsMisconfigured as error:
            raise StageFailed(str(error), "mend the file, on this machine") from error
        seconds = self._target.timeout
        sock = network.handshaken(self._socket, context, self._host, seconds, TLS_ADVICE)
        self._socket = sock
        return network.of_handshake(sock)

    def _authenticate(self) -> str:
        whose = "target" if self._target.access_key is not None else "dispatcher's environment"
        try:
            self._store().introduce()
        except InstanceRefused:
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
        except InstanceRefused as error:
            raise StageSkipped(f"the store does not tell ({error.status})") from error
        return f"bucket {self._target.bucket} is there"

    def _authorise(self) -> str:
        """Write, read and delete a small object that says what it is; always the same one."""
        prefix = f"{self._target.prefix}/" if self._target.prefix else ""
        key = f"{prefix}{_PROBE}-{self._target.name}"
        answer = explained(
            lambda: self._store().put(key, Body(_CONTENT, threading.Event()), "text/plain"),
            f"bucket {self._target.bucket} can be reached, but writing there fails: ",
        )
        read = self._read(key)
        deleted = self._delete(key, answer.get("VersionId"))
        return f"an object could be written{read}{deleted}"

    def _read(self, key: str) -> str:
        try:
            content = self._store().get(key)
        except (StoreFailed, InstanceRefused):  # deliveries do not read
            return "; reading it was refused, which is not needed"
        if content != _CONTENT:
            raise StageFailed(
                "an object that was written reads otherwise", "look at the store's log"
            )
        return ", read"

    def _delete(self, key: str, version: str | None) -> str:
        try:
            self._store().delete(key, version)
        except (StoreFailed, InstanceRefused) as error:
            if not isinstance(error, StoreFailed) or not error.temporary:
                return f"; deleting it was refused, so {key} stays in the bucket"
            raise StageFailed(error.found, error.advice) from error
        return " and deleted"
