"""Sends instances over one association at a time, which stays open for those that come next."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossdock.config.targets import DicomTarget
from crossdock.dicom.convert import UNCOMPRESSED, CannotConvert, converted
from crossdock.dicom.errors import AssociationAborted
from crossdock.dicom.part10 import FileMeta
from crossdock.dicom.storage_scu import MAX_CONTEXTS, StorageScu
from crossdock.dicom.tls import client_context
from crossdock.errors import DicomError, SpoolError
from crossdock.model import InstanceOutcome, Outcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.dicom.failures import failure
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


@dataclass(frozen=True, slots=True)
class _Awaited:
    """An instance whose outcome is known, or whose status is to come; then with a remark on it."""

    outgoing: Outgoing
    outcome: InstanceOutcome | None = None
    remark: str = ""


def scu_of(target: DicomTarget) -> StorageScu:
    """Return an SCU with a target's settings, not connected yet.

    Raises:
        TlsMisconfigured: the files of its TLS cannot be used.
    """
    tls = target.tls
    return StorageScu(
        target.host,
        target.port,
        called_ae_title=target.called_ae_title,
        calling_ae_title=target.calling_ae_title,
        max_pdu=target.max_pdu,
        connect_timeout=target.connect_timeout,
        acse_timeout=target.timeout,
        dimse_timeout=target.timeout,
        window=target.window,
        tls=client_context(tls.files()) if tls is not None else None,
    )


class Sender:
    """Sends for one worker.

    Each pair of SOP class and transfer syntax gets a presentation context of its own, and each SOP
    class one for uncompressed instances where the target lets us convert. What needs more than
    128 contexts goes over several associations, one after the other (PS3.8 9.3.2.2).

    The association is kept between two calls of ``send``. It is made anew if the peer has ended it,
    or if it lacks a context; then it is asked for those that it had, too, so that two kinds of
    deliveries that take turns need no more than one association.
    """

    def __init__(self, target: DicomTarget) -> None:
        self._target = target
        self._scu: StorageScu | None = None
        self._proposed: dict[Proposal, None] = {}
        self._sending = False
        self._interrupted = False

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        self._sending, ended_well = True, False
        try:
            for group, proposed in groups(
                map(prepare, instances), converting=self._target.convert_refused
            ):
                if proposed:
                    self._associate(proposed)
                yield from self._store(group)
            ended_well = True
        except (DicomError, SpoolError) as error:
            raise failure(error) from error
        finally:
            if not ended_well:
                self.close()
            self._sending = False

    def interrupt(self) -> None:
        """Make a ``send`` that runs in another thread fail soon."""
        self._interrupted = True
        scu = self._scu
        if scu is not None:
            scu.abort()

    def close(self) -> None:
        """Release the association if it is idle, and abort it if there is work under way."""
        self._end(politely=not self._sending)
        self._proposed = {}

    def _associate(self, proposed: Sequence[Proposal]) -> None:
        """Have an association with which all of ``proposed`` has been negotiated."""
        scu, known = self._scu, self._proposed
        idle = scu is not None and scu.idle
        if idle and known.keys() >= set(proposed):
            return
        wanted = list(dict.fromkeys([*proposed, *known]))[:MAX_CONTEXTS]
        self._end(politely=idle)
        self._scu = scu_of(self._target)
        self._scu.connect()
        if self._interrupted:
            raise AssociationAborted("another association of the delivery failed")
        self._scu.associate(wanted)
        self._proposed = dict.fromkeys(wanted)

    def _end(self, *, politely: bool) -> None:
        scu, self._scu = self._scu, None
        if scu is not None:
            scu.release() if politely else scu.close()

    def _peer(self) -> StorageScu:
        if self._scu is None:
            raise AssociationAborted("there is no connection")
        return self._scu

    def _store(self, group: Sequence[Prepared]) -> Iterator[InstanceOutcome]:
        """Yield the outcome of each instance of a group, in order."""
        awaited: deque[_Awaited] = deque()
        files = self._files(group, awaited)
        statuses = self._scu.store_many(files) if self._scu is not None else map(_unasked, files)
        for status in statuses:
            yield from _known(awaited)
            answered = awaited.popleft()
            yield judge(answered.outgoing, status, answered.remark)
        yield from _known(awaited)

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
