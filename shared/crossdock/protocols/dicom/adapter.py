"""The adapter of DICOM targets: one association at a time, over which instances go as they came."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossdock.config.targets import DicomTarget
from crossdock.dicom.convert import UNCOMPRESSED, CannotConvert, converted
from crossdock.dicom.errors import AssociationAborted, NoAcceptedContext
from crossdock.dicom.part10 import FileMeta
from crossdock.dicom.status import Status, describe
from crossdock.dicom.storage_scu import StorageScu
from crossdock.dicom.tls import client_context
from crossdock.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    VERIFICATION,
)
from crossdock.errors import DicomError, ErrorKind, SpoolError
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols import network
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.dicom.failures import ADVICE, explained, failure
from crossdock.protocols.dicom.lanes import Lanes
from crossdock.protocols.dicom.offering import (
    Context,
    Prepared,
    Proposal,
    groups,
    judge,
    name_of,
    not_accepted,
    prepare,
)
from crossdock.protocols.stages import Found, StageFailed, StageSkipped, run_stages


_EXPIRES_SOON = 30  # days: from then on a check says so


@dataclass(frozen=True, slots=True)
class _Awaited:
    """An instance whose outcome is known, or whose status is to come; then with a remark on it."""

    outgoing: Outgoing
    outcome: InstanceOutcome | None = None
    remark: str = ""


class DicomAdapter(Adapter):
    """Sends all instances of a delivery over one association, or over several side by side.

    Each pair of SOP class and transfer syntax gets a presentation context of its own, and each SOP
    class one for uncompressed instances where the target lets us convert. What needs more than
    128 contexts goes over several associations, one after the other (PS3.8 9.3.2.2).
    """

    def __init__(self, target: DicomTarget) -> None:
        self._target = target
        self._scu: StorageScu | None = None
        self._lanes: list[DicomAdapter] = []
        self._interrupted = False

    def check(self) -> CheckReport:
        """See ``Adapter.check``; the stages are resolve, ping, connect, tls, associate and echo."""
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
            self._release()

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        if self._target.associations == 1:
            return self.send_alone(instances)
        part = list(instances)
        count = min(self._target.associations, len(part))
        self._lanes = [DicomAdapter(self._target) for _ in range(count)]
        return Lanes([lane.send_alone for lane in self._lanes], self._interrupt_lanes).send(part)

    def send_alone(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """Send as ``send`` does, over one association at a time."""
        converting = self._target.convert_refused
        for group, proposed in groups(map(prepare, instances), converting=converting):
            try:
                if proposed:
                    self._connect()
                    if self._interrupted:
                        raise AssociationAborted("another association of the delivery failed")
                    self._peer().associate(proposed)
                yield from self._store(group)
            except (DicomError, SpoolError) as error:
                raise failure(error) from error
            finally:
                self.close()

    def close(self) -> None:
        """Close the connection, aborting associations that are still open."""
        self._interrupt_lanes()
        scu, self._scu = self._scu, None
        if scu is not None:
            scu.close()

    def _interrupt_lanes(self) -> None:
        for lane in self._lanes:
            lane.interrupt()

    def interrupt(self) -> None:
        """Make a ``send`` that runs in another thread fail soon."""
        self._interrupted = True
        scu = self._scu
        if scu is not None:
            scu.abort()

    def _connect(self) -> None:
        tls = self._target.tls
        self._scu = StorageScu(
            self._target.host,
            self._target.port,
            called_ae_title=self._target.called_ae_title,
            calling_ae_title=self._target.calling_ae_title,
            max_pdu=self._target.max_pdu,
            connect_timeout=self._target.connect_timeout,
            acse_timeout=self._target.timeout,
            dimse_timeout=self._target.timeout,
            window=self._target.window,
            tls=client_context(tls.files()) if tls is not None else None,
        )
        self._scu.connect()

    def _peer(self) -> StorageScu:
        if self._scu is None:
            raise AssociationAborted("there is no connection")
        return self._scu

    def _release(self) -> None:
        scu, self._scu = self._scu, None
        if scu is not None:
            scu.release()

    def _store(self, group: Sequence[Prepared]) -> Iterator[InstanceOutcome]:
        """Yield the outcome of each instance of a group, in order, and release the association."""
        awaited: deque[_Awaited] = deque()
        files = self._files(group, awaited)
        statuses = self._scu.store_many(files) if self._scu is not None else map(_unasked, files)
        for status in statuses:
            yield from _known(awaited)
            answered = awaited.popleft()
            yield judge(answered.outgoing, status, answered.remark)
        yield from _known(awaited)
        self._release()

    def _files(
        self, group: Sequence[Prepared], awaited: deque[_Awaited]
    ) -> Iterator[tuple[Path, FileMeta]]:
        """Yield what to send, and note in ``awaited`` what becomes of each instance of a group."""
        for each in group:
            if each.meta is None or each.context is None:
                awaited.append(_decided(each, Outcome.NOT_SENT, each.problem))
                continue
            syntax = self._syntax_for(each.context)
            if syntax == each.meta.transfer_syntax_uid:
                awaited.append(_Awaited(each.outgoing))
                yield each.outgoing.path, each.meta
            elif syntax is None:
                awaited.append(_decided(each, Outcome.REFUSED, not_accepted(each.context)))
            else:
                yield from _converted(each, each.context, syntax, awaited)

    def _syntax_for(self, context: Context) -> str | None:
        """Return in which transfer syntax the peer takes an instance, None if in no possible one."""
        sop_class, syntax = context
        others: tuple[str, ...] = UNCOMPRESSED if self._target.convert_refused else ()
        for uid in (syntax, *others):
            if self._peer().accepted(sop_class, uid):
                return uid
        return None

    def _check_resolve(self) -> str:
        return network.resolve(self._target.host, self._target.port)

    def _check_ping(self) -> str:
        return network.ping(self._target.host, self._target.port)

    def _check_connect(self) -> str:
        explained(self._connect)
        return f"connected to port {self._target.port}"

    def _check_tls(self) -> Found:
        explained(self._peer().secure)
        found = self._peer().certificate
        if found is None:
            return Found(self._peer().cipher)
        days = found.days_left(time.time())
        hint = ": have it renewed" if days < _EXPIRES_SOON else ""
        detail = (
            f"{self._peer().cipher}; certificate of {found.subject}, issued by {found.issuer},"
            f" expires in {days} days{hint}"
        )
        return Found(detail, days)

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


def _converted(
    prepared: Prepared, context: Context, syntax: str, awaited: deque[_Awaited]
) -> Iterator[tuple[Path, FileMeta]]:
    """Yield an instance in another transfer syntax, or note why that is not possible."""
    try:
        with converted(prepared.outgoing.path, syntax) as (path, meta):
            remark = f"converted from {name_of(context[1])} to {name_of(syntax)}"
            awaited.append(_Awaited(prepared.outgoing, remark=remark))
            yield path, meta
    except CannotConvert as error:
        words = f"{not_accepted(context)}, and converting it failed: {error}"
        awaited.append(_decided(prepared, Outcome.REFUSED, words))


def _decided(prepared: Prepared, outcome: Outcome, detail: str) -> _Awaited:
    return _Awaited(prepared.outgoing, prepared.outgoing.outcome(outcome, detail=detail))


def _known(awaited: deque[_Awaited]) -> Iterator[InstanceOutcome]:
    """Yield the outcomes up to the next instance whose status is to come."""
    while awaited and (outcome := awaited[0].outcome) is not None:
        awaited.popleft()
        yield outcome


def _unasked(_file: tuple[Path, FileMeta]) -> int:
    """Without an association nothing is offered, so no status is ever asked for."""
    raise AssociationAborted("there is no connection")
