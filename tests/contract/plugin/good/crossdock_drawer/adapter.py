"""The adapter of drawers."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from crossdock.errors import DeliveryError, ErrorKind, SecretUnavailable
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.payload import Payload, SpoolUnreadable
from crossdock.protocols.stages import StageFailed, run_stages
from crossdock_drawer.settings import DrawerTarget


class DrawerAdapter(Adapter):
    """Writes each instance to a file of its SOP Instance UID."""

    def __init__(self, target: DrawerTarget) -> None:
        self._target = target
        self._drawer = Path(target.path)

    def check(self) -> CheckReport:
        """See ``Adapter.check``; the stages are open, authenticate and write."""
        return run_stages(
            (
                ("open", self._check_open),
                ("authenticate", self._check_lock),
                ("write", self._check_write),
            )
        )

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        for each in instances:
            self._open()
            self._unlock()
            yield self._put(each)

    def _open(self) -> None:
        if not self._drawer.exists():
            raise DeliveryError(ErrorKind.UNREACHABLE, "there is no such drawer", temporary=True)
        if not self._drawer.is_dir():
            raise DeliveryError(ErrorKind.MISCONFIGURED, "no directory", temporary=False)

    def _unlock(self) -> None:
        lock = self._drawer / ".lock"
        if lock.exists() and lock.read_text() != self._key():
            raise DeliveryError(ErrorKind.UNAUTHORISED, "the drawer stays closed", temporary=False)

    def _key(self) -> str:
        login, token = self._target.login, self._target.token
        try:
            secrets = [login.password if login else None, token]
            return "".join(f"{secret.reveal()}\n" for secret in secrets if secret is not None)
        except SecretUnavailable as error:
            raise DeliveryError(ErrorKind.MISCONFIGURED, str(error), temporary=False) from error

    def _put(self, outgoing: Outgoing) -> InstanceOutcome:
        place = self._drawer / (quote(outgoing.instance.sop_instance_uid, safe="") + ".dcm")
        if place.is_dir():
            return outgoing.outcome(Outcome.REFUSED, "EISDIR", "a directory is in the way")
        unfinished = self._drawer / f".{outgoing.path.parent.name}-{outgoing.path.name}.part"
        try:
            with Payload(outgoing) as payload, unfinished.open("wb") as file:
                for block in self.pace.through(iter(lambda: payload.read(1024 * 1024), b"")):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(place)
        except SpoolUnreadable as error:
            words = f"its file in the spool cannot be read: {error}"
            return outgoing.outcome(Outcome.NOT_SENT, detail=words)
        except OSError as error:
            words = error.strerror or type(error).__name__
            raise DeliveryError(ErrorKind.BUSY, words, temporary=True) from error
        return outgoing.outcome(Outcome.DELIVERED)

    def _check_open(self) -> str:
        try:
            self._open()
        except DeliveryError as error:
            raise StageFailed(error.detail, "make the directory, or correct path") from error
        return f"{self._drawer} is there"

    def _check_lock(self) -> str:
        try:
            self._unlock()
        except DeliveryError as error:
            raise StageFailed(error.detail, "compare password and token") from error
        return "the drawer is open"

    def _check_write(self) -> str:
        probe = self._drawer / ".crossdock-check"
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StageFailed(error.strerror or "cannot write", "give us the permission") from error
        return "written to, and emptied again"
