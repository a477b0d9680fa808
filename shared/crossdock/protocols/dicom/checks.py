"""The check of a DICOM target, stage by stage, over a connection of its own."""

import time

from crossdock.config.targets import DicomTarget
from crossdock.dicom.errors import AssociationAborted, NoAcceptedContext
from crossdock.dicom.status import Status, describe
from crossdock.dicom.storage_scu import StorageScu
from crossdock.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
)
from crossdock.errors import ErrorKind
from crossdock.model import CheckReport
from crossdock.protocols import network
from crossdock.protocols.dicom.failures import ADVICE, explained
from crossdock.protocols.dicom.offering import Proposal
from crossdock.protocols.dicom.sender import scu_of
from crossdock.protocols.stages import StageFailed, StageSkipped, run_stages


_EXPIRES_SOON = 30  # days: from then on a check says so


def check(target: DicomTarget) -> CheckReport:
    """Report whether a target can be used; the stages are resolve, ping, connect, tls, associate, echo."""
    return _Check(target).run()


class _Check:
    """One check, and the connection that its stages share."""

    def __init__(self, target: DicomTarget) -> None:
        self._target = target
        self._scu: StorageScu | None = None

    def run(self) -> CheckReport:
        """Run all stages, and leave nothing open."""
        tls = (("tls", self._check_tls),) if self._target.tls is not None else ()
        try:
            return run_stages(
                (
                    ("resolve", self._check_resolve),
                    ("ping", self._check_ping),
                    ("connect", self._check_connect),
                    *tls,
                    ("associate", self._check_associate),
                    ("echo", self._check_echo),
                )
            )
        finally:
            if self._scu is not None:
                self._scu.release()

    def _connect(self) -> None:
        self._scu = scu_of(self._target)
        self._scu.connect()

    def _peer(self) -> StorageScu:
        if self._scu is None:
            raise AssociationAborted("there is no connection")
        return self._scu

    def _check_resolve(self) -> str:
        return network.resolve(self._target.host, self._target.port)

    def _check_ping(self) -> str:
        return network.ping(self._target.host, self._target.port)

    def _check_connect(self) -> str:
        explained(self._connect)
        return f"connected to port {self._target.port}"

    def _check_tls(self) -> str:
        explained(self._peer().secure)
        found = self._peer().certificate
        if found is None:
            return self._peer().cipher
        days = found.days_left(time.time())
        hint = ": have it renewed" if days < _EXPIRES_SOON else ""
        return (
            f"{self._peer().cipher}; certificate of {found.subject}, issued by {found.issuer},"
            f" expires in {days} days{hint}"
        )

    def _check_associate(self) -> str:
        proposed: list[Proposal] = [
            (VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),
            (VERIFICATION, (EXPLICIT_VR_LITTLE_ENDIAN,)),
        ]
        explained(lambda: self._peer().associate(proposed))
        return f"{self._target.called_ae_title} accepted {self._target.calling_ae_title}"

    def _check_echo(self) -> str:
        try:
            status = explained(self._peer().echo)
        except NoAcceptedContext:
            raise StageSkipped("the peer does not take Verification; storing may work") from None
        if status != Status.SUCCESS:
            raise StageFailed(f"answered with {describe(status)}", ADVICE[ErrorKind.UNEXPECTED])
        return "answered with success"
