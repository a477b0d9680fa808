"""Sends instances over one association at a time, which stays open for those that come next."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from crossdock.config.targets import StorageScpTarget
from crossdock.dicom.convert import CannotConvert, NoCodec, converted
from crossdock.dicom.dictionary import name_of_uid
from crossdock.dicom.errors import AssociationAborted
from crossdock.dicom.part10 import FileMeta
from crossdock.dicom.storage_scu import MAX_CONTEXTS, StorageScu
from crossdock.dicom.tls import client_context
from crossdock.errors import DeliveryError, DicomError, SpoolError
from crossdock.model import InstanceOutcome, Outcome
from crossdock.pace import UNLIMITED, Pace
from crossdock.protocols.base import Outgoing
from crossdock.protocols.dicom.failures import failure
from crossdock.protocols.dicom.offering import (
    Context,
    Group,
    Prepared,
    Proposal,
    groups,
    judge,
    left_out,
    not_accepted,
    syntaxes,
)
from crossdock.protocols.dicom.routes import Route


@dataclass(frozen=True, slots=True)
class _Awaited:
    """An instance whose outcome is known, or whose status is to come; then with a remark on it."""

    outgoing: Outgoing
    outcome: InstanceOutcome | None = None
    remark: str = ""


Scu = TypeVar("Scu", bound=StorageScu)


def scu_of(
    target: StorageScpTarget,
    route: Route,
    kind: type[Scu] = StorageScu,  # type: ignore[assignment]  # the default is for callers that name none
    pace: Pace = UNLIMITED,
) -> Scu:
    """Return an SCU with a target's settings, not connected yet.

    Raises:
        TlsMisconfigured: the files of its TLS cannot be used.
    """
    tls = target.tls_files
    return kind(
        route.host,
        target.port,
        called_ae_title=route.called_ae_title,
        calling_ae_title=route.calling_ae_title,
        max_pdu=target.max_pdu,
        connect_timeout=target.connect_timeout,
        acse_timeout=target.timeout,
        dimse_timeout=target.timeout,
        window=target.window,
        tls=client_context(tls) if tls is not None else None,
        pace=pace,
    )


class Sender:
    """Sends for one worker.

    Each pair of SOP class and transfer syntax gets a presentation context of its own, and each SOP
    class one for uncompressed instances where the target lets us convert. What needs more than
    128 contexts (PS3.8 9.3.2.2), or has another route, goes over another association afterwards.

    The association is kept between two calls of ``send``. It is made anew if the peer has ended it,
    or if it lacks a context; then it is asked for those that it had, too, so that two kinds of
    deliveries that take turns need no more than one association.
    """

    def __init__(self, target: StorageScpTarget, pace: Pace) -> None:
        self._target = target
        self._pace = pace
        self._scu: StorageScu | None = None
        self._route: Route | None = None
        self._proposed: dict[Proposal, None] = {}
        self._sending = False
        self._interrupted = False
        self._winding_down = False

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        self._sending, self._winding_down, ended_well = True, False, False
        try:
            for group in groups(self._target, instances):
                if self._winding_down:
                    break
                if group.proposals:
                    self._associate(group)
                yield from self._store(group.instances)
            ended_well = True
        except (DicomError, SpoolError) as error:
            raise failure(error) from error
        finally:
            if not ended_well:
                self.close()
            self._sending = False

    def wind_down(self) -> None:
        """Have a ``send`` that is running end once what is under way is answered."""
        self._winding_down = True

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

    def _associate(self, group: Group) -> None:
        """Have an association of the group's route with which its contexts have been negotiated."""
        scu, known = self._scu, self._proposed if self._route == group.route else {}
        idle = scu is not None and scu.idle
        if idle and known.keys() >= set(group.proposals):
            return
        wanted = list(dict.fromkeys([*group.proposals, *known]))[:MAX_CONTEXTS]
        self._end(politely=idle)
        self._scu, self._route = scu_of(self._target, group.route, pace=self._pace), group.route
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
        """Yield the outcome of each instance of a group, in order.

        A peer that is out of resources is offered no more; what it took of the instances that were
        under way is yielded first, so that it is not sent again.

        Raises:
            DeliveryError: the peer is out of resources.
        """
        awaited: deque[_Awaited] = deque()
        full: list[DeliveryError] = []
        for status in self._statuses(self._files(group, awaited), full):
            yield from _known(awaited)
            answered = awaited.popleft()
            try:
                outcome = judge(answered.outgoing, status, answered.remark)
            except DeliveryError as error:
                full.append(error)
            else:
                yield outcome
        if full:
            raise full[0]
        yield from _known(awaited)

    def _statuses(
        self, files: Iterator[tuple[Path, FileMeta]], full: list[DeliveryError]
    ) -> Iterator[int]:
        """Yield what the peer answers to files; no more are offered once anything is in ``full``.

        A peer that has said that it is may break off as it likes.
        """
        try:
            if self._scu is None:
                yield from map(_unasked, files)
            else:
                yield from self._scu.store_many(
                    files, enough=lambda: bool(full) or self._winding_down
                )
        except DicomError:
            if not full:
                raise

    def _files(
        self, group: Sequence[Prepared], awaited: deque[_Awaited]
    ) -> Iterator[tuple[Path, FileMeta]]:
        """Yield what to send, and note in ``awaited`` what becomes of each instance of a group."""
        for each in group:
            if each.meta is None or each.context is None:
                awaited.append(_decided(each, Outcome.NOT_SENT, each.problem))
                continue
            yield from self._offered(each, each.meta, awaited)

    def _offered(
        self, each: Prepared, meta: FileMeta, awaited: deque[_Awaited]
    ) -> Iterator[tuple[Path, FileMeta]]:
        """Yield an instance in the best transfer syntax that is possible, or note why none is."""
        remark, failed = "", None
        for uid in syntaxes(self._target, meta.transfer_syntax_uid):
            if not self._peer().accepted(meta.sop_class_uid, uid):
                remark = remark or f"the peer does not accept it in {name_of_uid(uid)}"
                continue
            failed = yield from _written(each, meta, uid, remark, awaited)
            if failed is None:
                return
            remark = f"converting it to {name_of_uid(uid)} failed: {failed}"
            if isinstance(failed, NoCodec):  # asked for, and a matter of this machine only
                break
        words = self._refusal((meta.sop_class_uid, meta.transfer_syntax_uid), failed)
        awaited.append(_decided(each, Outcome.REFUSED, words))

    def _refusal(self, context: Context, failed: CannotConvert | None) -> str:
        words = [f"converting it failed: {failed}"] if failed is not None else []
        if left_out(self._target, context):
            words.insert(0, f"the target's transfer_syntaxes leave out {name_of_uid(context[1])}")
        elif not self._peer().accepted(*context):
            words.insert(0, not_accepted(context))
        return ", and ".join(words)


def _written(
    prepared: Prepared, meta: FileMeta, syntax: str, remark: str, awaited: deque[_Awaited]
) -> Generator[tuple[Path, FileMeta], None, CannotConvert | None]:
    """Yield an instance in a transfer syntax; return why that is not possible, None if it was."""
    own = meta.transfer_syntax_uid
    if syntax == own:
        words = f"sent in {name_of_uid(own)}: {remark}" if remark else ""
        awaited.append(_Awaited(prepared.outgoing, remark=words))
        yield prepared.outgoing.path, meta
        return None
    try:
        with converted(prepared.outgoing.path, syntax) as (path, its):
            words = f"converted from {name_of_uid(own)} to {name_of_uid(syntax)}"
            awaited.append(_Awaited(prepared.outgoing, remark=words))
            yield path, its
            return None
    except CannotConvert as error:
        return error


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
