"""Reports to senders that asked for storage commitment, over associations of our own.

What a sender takes over its own association is reported there (``commitment.py``); here is the
rest: senders that have gone, and requests that have to wait for targets.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from prometheus_client import Counter, Gauge

from crossdock.config import Gateway
from crossdock.dicom.commitment_scu import CommitmentReporter
from crossdock.dicom.status import Status, describe
from crossdock.dicom.tls import TlsFiles, client_context
from crossdock.errors import DicomError
from crossdock.spool import Owed, Spool
from receiver.commitment import decided


log = structlog.get_logger(__name__)

REPORTS = Counter(
    "crossdock_commitment_reports",
    "Results of storage commitment reported to senders, by what came of it.",
    ["store_node", "result"],
)
OWED = Gauge("crossdock_commitment_reports_owed", "Results that senders have not taken yet.")

_INTERVAL_SECONDS = 1.0
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: before our first report, between tries and looks, and after which it is given up.

    The delay doubles from ``again`` to ``longest_look`` where targets are awaited, and to
    ``longest`` where a requester cannot be told.
    """

    first: float = 3.0  # the requester's own association comes first
    again: float = 5.0
    longest_look: float = 60.0
    longest: float = 600.0
    give_up: float = 86_400.0


@dataclass(slots=True)
class _Pause:
    setbacks: int = 0
    until: float = 0.0


class _Pauses:
    """What is left alone for a while, longer each time."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._pauses: dict[str, _Pause] = {}

    def begin(self, name: str, now: float) -> None:
        pause = self._pauses.setdefault(name, _Pause())
        pause.until = now + min(self._first * 2.0 ** min(pause.setbacks, 30), self._longest)
        pause.setbacks += 1

    def end(self, name: str) -> None:
        self._pauses.pop(name, None)

    def has(self, name: str, now: float) -> bool:
        pause = self._pauses.get(name)
        return pause is not None and now < pause.until

    def forget_old(self, now: float) -> None:
        limit = now - 2 * self._longest
        self._pauses = {name: each for name, each in self._pauses.items() if each.until > limit}


class CommitmentReports:
    """Reports, in a thread of its own; a requester that cannot be reached is left alone for a while.

    It leaves that to another router while ``is_ours`` says so.
    """

    def __init__(
        self,
        spool: Spool,
        patience: Patience | None = None,
        is_ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._spool = spool
        self._is_ours = is_ours
        self._patience = patience = patience or Patience()
        self._awaiting = _Pauses(patience.again, patience.longest_look)
        self._unreached = _Pauses(patience.again, patience.longest)
        self._tls: dict[str, TlsFiles] = {}
        self._telling: CommitmentReporter | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commitment-reports", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and give up the report under way: it is owed still."""
        self._stopping.set()
        deadline = time.monotonic() + _CONNECT_SECONDS + 1.0
        while self._thread.is_alive() and time.monotonic() < deadline:
            telling = self._telling
            if telling is not None:
                telling.abort()  # in vain where it is just being connected
            self._thread.join(0.1)

    def configure(self, gateway: Gateway) -> None:
        """Report with the TLS settings of these store nodes from now on."""
        self._tls = {
            node.name: node.commitment.tls.files()
            for node in gateway.store_nodes
            if node.commitment is not None and node.commitment.tls is not None
        }

    def look(self, now: float | None = None) -> None:
        """Report what can be reported.

        Raises:
            OSError: the spool cannot be read or written.
        """
        at = time.time() if now is None else now
        keys = self._spool.owed.keys()
        OWED.set(len(keys))
        for pauses in (self._awaiting, self._unreached):
            pauses.forget_old(at)
        for key in keys:
            if self._stopping.is_set():
                return
            if not self._awaiting.has(key, at):
                self._look_at(key, at)

    def _look_at(self, key: str, now: float) -> None:
        owed = self._spool.owed.get(key)
        if owed is None or now < owed.at + self._patience.first:
            return
        if self._unreached.has(_peer(owed), now):
            return
        ready = decided(self._spool, owed, now)
        if ready is None:
            self._awaiting.begin(key, now)
        else:
            self._awaiting.end(key)
            self._report(key, ready, now)

    def _report(self, key: str, owed: Owed, now: float) -> None:
        try:
            status = self._told(owed)
        except DicomError as error:
            problem = str(error)
        else:
            problem = "" if status == Status.SUCCESS else f"answered with {describe(status)}"
        if not problem:
            self._unreached.end(_peer(owed))
            self._end(key, owed, "reported", "")
        elif now > owed.until + self._patience.give_up:
            self._end(key, owed, "given up", problem)
        else:
            self._unreached.begin(_peer(owed), now)
            REPORTS.labels(owed.store_node, "failed").inc()
            log.warning("commitment.not_reported", **_about(owed), reason=problem)

    def _told(self, owed: Owed) -> int:
        """Report to a requester and return its answer.

        Raises:
            DicomError: it could not be told.
        """
        tls = self._tls.get(owed.store_node)
        with CommitmentReporter(
            owed.host,
            owed.port,
            called_ae_title=owed.calling_ae_title,
            calling_ae_title=owed.called_ae_title,
            connect_timeout=_CONNECT_SECONDS,
            acse_timeout=10.0,
            dimse_timeout=30.0,
            window=1,
            tls=client_context(tls) if tls is not None else None,
        ) as scu:
            self._telling = scu
            try:
                scu.begin()
                return scu.report(owed.report())
            finally:
                self._telling = None

    def _end(self, key: str, owed: Owed, result: str, problem: str) -> None:
        self._spool.owed.remove(key)
        REPORTS.labels(owed.store_node, result).inc()
        level = log.error if problem else log.info
        level("commitment.report_ended", **_about(owed), result=result, reason=problem)

    def _run(self) -> None:
        while not self._stopping.wait(_INTERVAL_SECONDS):
            try:
                if self._is_ours():
                    self.look()
            except OSError as error:
                log.error("commitment.reports_postponed", reason=error.strerror)


def _peer(owed: Owed) -> str:
    return f"{owed.calling_ae_title}@{owed.host}:{owed.port}"


def _about(owed: Owed) -> dict[str, object]:
    return {
        "store_node": owed.store_node,
        "calling_ae_title": owed.calling_ae_title,
        "host": owed.host,
        "port": owed.port,
        "committed": len(owed.committed),
        "failed": len(owed.failed),
    }
