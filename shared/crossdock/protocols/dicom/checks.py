"""The check of a DICOM target, stage by stage, over a connection of its own."""

from crossdock.config.targets import StorageScpTarget
from crossdock.dicom.commitment import SYNTAXES
from crossdock.dicom.convert import missing_codec
from crossdock.dicom.errors import AssociationAborted, NoAcceptedContext, TlsFailed
from crossdock.dicom.status import Status, describe
from crossdock.dicom.storage_scu import StorageScu
from crossdock.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_COMMITMENT,
    TRANSFER_SYNTAXES,
    VERIFICATION,
)
from crossdock.errors import ErrorKind
from crossdock.model import CheckReport
from crossdock.protocols import network
from crossdock.protocols.dicom import storage_classes
from crossdock.protocols.dicom.commitment import NOT_TAKEN
from crossdock.protocols.dicom.failures import ADVICE, explained
from crossdock.protocols.dicom.offering import Proposal
from crossdock.protocols.dicom.probe import answers_in_plain, answers_in_tls
from crossdock.protocols.dicom.routes import route_of, sends_back
from crossdock.protocols.dicom.sender import scu_of
from crossdock.protocols.stages import Found, Stage, StageFailed, StageSkipped, run_stages


_VERIFICATION: list[Proposal] = [
    (VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),
    (VERIFICATION, (EXPLICIT_VR_LITTLE_ENDIAN,)),
]


def check(target: StorageScpTarget) -> CheckReport:
    """Report whether a target can be used.

    The stages are convert (where the target wants it), resolve, ping, connect, tls, associate,
    echo, storage, and commitment where the target asks for it.
    """
    return _Check(target).run()


class _Check:
    """One check, and the connection that its stages share."""

    def __init__(self, target: StorageScpTarget) -> None:
        self._target = target
        self._route = route_of(target)
        self._scu: StorageScu | None = None

    def run(self) -> CheckReport:
        """Run all stages, and leave nothing open."""
        try:
            return run_stages(self._stages())
        finally:
            if self._scu is not None:
                self._scu.release()

    def _stages(self) -> list[Stage]:
        convert = self._target.convert_to != "keep"
        first: list[Stage] = [("convert", self._check_convert)] if convert else []
        if sends_back(self._target):
            return [*first, ("sender", _check_sender)]
        tls = self._target.tls_files is not None
        return [
            *first,
            ("resolve", lambda: network.resolve(self._target.host, self._target.port)),
            ("ping", lambda: network.ping(self._target.host, self._target.port)),
            ("connect", self._check_connect),
            *([("tls", self._check_tls)] if tls else []),
            ("associate", self._check_associate),
            ("echo", self._check_echo),
            ("storage", self._check_storage),
            *([("commitment", self._check_commitment)] if self._target.commitment else []),
        ]

    def _peer(self) -> StorageScu:
        if self._scu is None:
            raise AssociationAborted("there is no connection")
        return self._scu

    def _connect(self) -> None:
        self._scu = scu_of(self._target, self._route)
        self._scu.connect()

    def _check_convert(self) -> str:
        missing = missing_codec(TRANSFER_SYNTAXES[self._target.convert_to])
        if missing:
            advice = "install it where the dispatcher runs, or let the target keep what comes"
            raise StageFailed(f"convert_to: {missing}", advice)
        return f"instances can be converted to {self._target.convert_to}"

    def _check_connect(self) -> str:
        explained(self._connect)
        return f"connected to port {self._target.port}"

    def _check_tls(self) -> Found:
        try:
            explained(self._peer().secure)
        except StageFailed as failed:
            if isinstance(failed.__cause__, TlsFailed) and self._speaks_plain():
                words = "connected, but the peer answers in DICOM without TLS"
                raise StageFailed(words, "choose the type dicom, or another port") from failed
            raise
        return network.secured(self._peer().cipher, self._peer().certificate)

    def _speaks_plain(self) -> bool:
        return answers_in_plain(self._target, self._route)

    def _check_associate(self) -> str:
        storage = storage_classes.proposals(self._target) if self._target.stores else []
        try:
            asked = [(STORAGE_COMMITMENT, SYNTAXES)] if self._target.commitment else []
            explained(lambda: self._peer().associate([*_VERIFICATION, *storage, *asked]))
        except StageFailed as failed:
            plain = self._target.tls_files is None
            lost = isinstance(failed.__cause__, AssociationAborted)
            if plain and lost and answers_in_tls(self._target, self._route):
                words = "connected, but the peer answers in TLS"
                raise StageFailed(words, "choose the type dicom+tls, or another port") from failed
            raise
        return f"{self._route.called_ae_title} accepted {self._route.calling_ae_title}"

    def _check_echo(self) -> str:
        try:
            status = explained(self._peer().echo)
        except NoAcceptedContext:
            raise StageSkipped("the peer does not take Verification; storing may work") from None
        if status != Status.SUCCESS:
            raise StageFailed(f"answered with {describe(status)}", ADVICE[ErrorKind.UNEXPECTED])
        return "answered with success"

    def _check_storage(self) -> str:
        if not self._target.stores:
            raise StageSkipped("nothing is stored there")
        peer = self._peer()
        taken = storage_classes.accepted(self._target, peer)
        if not taken:
            words = storage_classes.words(self._target, peer, taken).partition(";")[0]
            advice = "have the peer store what comes from our calling AE title; is it an archive?"
            raise StageFailed(words, advice)
        return storage_classes.words(self._target, peer, taken)

    def _check_commitment(self) -> str:
        if not any(self._peer().accepted(STORAGE_COMMITMENT, syntax) for syntax in SYNTAXES):
            advice = "have the peer offer it to our calling AE title, or leave out commitment"
            raise StageFailed(NOT_TAKEN, advice)
        return "the peer takes storage commitment"


def _check_sender() -> str:
    return "instances go back to where they came from, which no check can know"
