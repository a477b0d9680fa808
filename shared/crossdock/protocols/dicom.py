"""DICOM targets: instances go to a storage SCP with C-STORE, as they came (PS3.4 B)."""

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydicom.uid import UID

from crossdock.config.targets import DicomTarget
from crossdock.dicom.errors import (
    AssociationAborted,
    AssociationRejected,
    NoAcceptedContext,
    PeerTimeout,
    PeerUnreachable,
    ProtocolError,
)
from crossdock.dicom.part10 import FileMeta, read_file_meta
from crossdock.dicom.status import Status, describe, is_out_of_resources, is_warning
from crossdock.dicom.storage_scu import MAX_CONTEXTS, StorageScu
from crossdock.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
)
from crossdock.errors import DeliveryError, DicomError, ErrorKind, SpoolError
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.stages import StageFailed, StageSkipped, run_stages


T = TypeVar("T")

Context = tuple[str, str]
"""A SOP class and the one transfer syntax that instances of it are in."""

_CALLING_NOT_RECOGNISED = (1, 3)  # source and reason: PS3.8 table 9-21
_CALLED_NOT_RECOGNISED = (1, 7)

_ADVICE = {
    ErrorKind.UNREACHABLE: "is the peer running, and are host, port and firewall right?",
    ErrorKind.TIMEOUT: "is the peer overloaded, or does a firewall drop what is sent?",
    ErrorKind.BUSY: "the peer has no room now; try later",
    ErrorKind.UNAUTHORISED: "have the peer accept our calling AE title from this address",
    ErrorKind.MISCONFIGURED: "compare called AE title, host and port with the peer's settings",
    ErrorKind.UNEXPECTED: "look at the peer's log",
}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An instance and what its file says, or why the file cannot be read."""

    outgoing: Outgoing
    meta: FileMeta | None
    problem: str = ""

    @property
    def context(self) -> Context | None:
        """What it needs of the peer."""
        meta = self.meta
        return None if meta is None else (meta.sop_class_uid, meta.transfer_syntax_uid)


class DicomAdapter(Adapter):
    """Sends all instances of a delivery over one association.

    Each pair of SOP class and transfer syntax gets a presentation context of its own. Those of
    more than 128 pairs go over several associations, one after the other (PS3.8 9.3.2.2).
    """

    def __init__(self, target: DicomTarget) -> None:
        self._target = target
        self._scu: StorageScu | None = None

    def check(self) -> CheckReport:
        """See ``Adapter.check``; the stages are resolve, connect, associate and echo."""
        try:
            return run_stages(
                (
                    ("resolve", self._check_resolve),
                    ("connect", self._check_connect),
                    ("associate", self._check_associate),
                    ("echo", self._check_echo),
                )
            )
        finally:
            self._release()

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        for group in _groups(map(_prepare, instances)):
            contexts = list(dict.fromkeys(each.context for each in group if each.context))
            try:
                if contexts:
                    self._connect()
                    self._associate(contexts)
                yield from self._store(group)
            except (DicomError, SpoolError) as error:
                raise _failure(error) from error
            finally:
                self.close()

    def close(self) -> None:
        """Close the connection, aborting an association that is still open."""
        scu, self._scu = self._scu, None
        if scu is not None:
            scu.close()

    def _connect(self) -> None:
        self._scu = StorageScu(
            self._target.host,
            self._target.port,
            called_ae_title=self._target.called_ae_title,
            calling_ae_title=self._target.calling_ae_title,
            max_pdu=self._target.max_pdu,
            connect_timeout=self._target.connect_timeout,
            acse_timeout=self._target.timeout,
            dimse_timeout=self._target.timeout,
        )
        self._scu.connect()

    def _associate(self, contexts: Iterable[Context]) -> None:
        self._peer().associate([(sop_class, [syntax]) for sop_class, syntax in contexts])

    def _peer(self) -> StorageScu:
        if self._scu is None:
            raise AssociationAborted("there is no connection")
        return self._scu

    def _release(self) -> None:
        scu, self._scu = self._scu, None
        if scu is not None:
            scu.release()

    def _store(self, group: list[_Prepared]) -> Iterator[InstanceOutcome]:
        """Yield the outcome of each instance of a group, and release the association."""
        accepted = {id(each): self._accepts(each) for each in group}
        statuses = self._statuses([each for each in group if accepted[id(each)]])
        for each in group:
            if accepted[id(each)]:
                yield _judge(each.outgoing, next(statuses))
            elif each.context is None:
                yield each.outgoing.outcome(Outcome.NOT_SENT, detail=each.problem)
            else:
                yield each.outgoing.outcome(Outcome.REFUSED, detail=_not_accepted(each.context))
        self._release()

    def _accepts(self, prepared: _Prepared) -> bool:
        return prepared.context is not None and self._peer().accepted(*prepared.context)

    def _statuses(self, accepted: list[_Prepared]) -> Iterator[int]:
        files = ((each.outgoing.path, each.meta) for each in accepted if each.meta is not None)
        yield from self._peer().store_many(files) if accepted else ()

    def _check_resolve(self) -> str:
        try:
            found = socket.getaddrinfo(
                self._target.host, self._target.port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError) as error:
            words = getattr(error, "strerror", None) or "not a host name"
            raise StageFailed(
                f"{self._target.host}: {words}", "is the host name right, and name service up?"
            ) from error
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        return f"{self._target.host} is {', '.join(addresses)}"

    def _check_connect(self) -> str:
        _explained(self._connect)
        return f"connected to port {self._target.port}"

    def _check_associate(self) -> str:
        contexts = [
            (VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN),
            (VERIFICATION, EXPLICIT_VR_LITTLE_ENDIAN),
        ]
        _explained(lambda: self._associate(contexts))
        return f"{self._target.called_ae_title} accepted {self._target.calling_ae_title}"

    def _check_echo(self) -> str:
        try:
            status = _explained(self._peer().echo)
        except NoAcceptedContext:
            raise StageSkipped("the peer does not take Verification; storing may work") from None
        if status != Status.SUCCESS:
            raise StageFailed(f"answered with {describe(status)}", _ADVICE[ErrorKind.UNEXPECTED])
        return "answered with success"


def _explained(call: Callable[[], T]) -> T:
    """Call, and turn what the peer did wrong into a failed stage."""
    try:
        return call()
    except NoAcceptedContext:
        raise
    except DicomError as error:
        failure = _failure(error)
        raise StageFailed(failure.detail, _ADVICE[failure.kind]) from error


def _prepare(outgoing: Outgoing) -> _Prepared:
    try:
        meta = read_file_meta(outgoing.path)
    except DicomError as error:
        return _Prepared(outgoing, None, f"its file in the spool is damaged: {error}")
    except OSError as error:
        words = error.strerror or type(error).__name__
        return _Prepared(outgoing, None, f"its file in the spool cannot be read: {words}")
    if not meta.sop_class_uid or not meta.sop_instance_uid:
        return _Prepared(outgoing, None, "SOP class or SOP instance UID is not known")
    return _Prepared(outgoing, meta)


def _groups(instances: Iterable[_Prepared]) -> Iterator[list[_Prepared]]:
    """Yield the instances in order, in groups that need at most 128 contexts each."""
    group: list[_Prepared] = []
    contexts: set[Context | None] = {None}
    for each in instances:
        if each.context not in contexts and len(contexts) > MAX_CONTEXTS:
            yield group
            group, contexts = [], {None}
        group.append(each)
        contexts.add(each.context)
    if group:
        yield group


def _judge(outgoing: Outgoing, status: int) -> InstanceOutcome:
    """Return what a status means for an instance (PS3.4 B.2.3).

    Raises:
        DeliveryError: the peer is out of resources, and the others would fare no better.
    """
    code = f"{status:04X}"
    if status == Status.SUCCESS:
        return outgoing.outcome(Outcome.DELIVERED, code)
    if is_warning(status):
        return outgoing.outcome(Outcome.WARNING, code, describe(status))
    if is_out_of_resources(status):
        detail = f"the peer answered {describe(status)}"
        raise DeliveryError(ErrorKind.BUSY, detail, temporary=True)
    return outgoing.outcome(Outcome.REFUSED, code, describe(status))


def _not_accepted(context: Context) -> str:
    sop_class, syntax = (UID(uid, validation_mode=0).name for uid in context)
    return f"the peer does not accept {sop_class} in {syntax}"


def _failure(error: DicomError | SpoolError) -> DeliveryError:
    """Return what an association's end says of the target."""
    kind, temporary = _kind(error)
    return DeliveryError(kind, str(error), temporary=temporary)


def _kind(error: DicomError | SpoolError) -> tuple[ErrorKind, bool]:
    match error:
        case AssociationRejected():
            return _rejection(error)
        case PeerUnreachable() | AssociationAborted():
            return ErrorKind.UNREACHABLE, True
        case PeerTimeout():
            return ErrorKind.TIMEOUT, True
        case ProtocolError():  # something else listens there, or the peer is broken
            return ErrorKind.MISCONFIGURED, False
        case _:
            return ErrorKind.UNEXPECTED, False


def _rejection(error: AssociationRejected) -> tuple[ErrorKind, bool]:
    if error.temporary or error.source == 3:  # noqa: PLR2004 — PS3.8 table 9-21: presentation
        return ErrorKind.BUSY, True
    if (error.source, error.reason) == _CALLING_NOT_RECOGNISED:
        return ErrorKind.UNAUTHORISED, False
    return ErrorKind.MISCONFIGURED, False
