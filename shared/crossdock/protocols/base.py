"""What an adapter is: one class per protocol that checks a target and sends to it.

Dispatcher and tester use the same class, and ``check`` opens the connection in the same way as
``send``, so that a green check means something. Retry, metrics and logs are wrapped around adapters
once and are not written in them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from crossdock.dicom.commitment import Report
from crossdock.model import CheckReport, Instance, InstanceOutcome, Outcome
from crossdock.pace import UNLIMITED, Pace


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One instance to send: what is known of it, and its Part 10 file in the spool."""

    instance: Instance
    path: Path

    def outcome(self, outcome: Outcome, status: str = "", detail: str = "") -> InstanceOutcome:
        """Return the outcome of this instance."""
        return InstanceOutcome(
            number=self.instance.number,
            sop_instance_uid=self.instance.sop_instance_uid,
            outcome=outcome,
            status=status,
            detail=detail,
        )


@runtime_checkable
class AsksCommitment(Protocol):
    """An adapter whose target can be asked to confirm that it keeps what it was sent."""

    def ask_commitment(
        self,
        instances: Sequence[Outgoing],
        begin: Callable[[Sequence[Outgoing]], str],
        keep: Callable[[Report], int],
    ) -> None:
        """Ask the target to commit itself to keep instances.

        Where that takes several requests, each is begun by ``begin``, which is given its instances
        and returns its Transaction UID. A report that comes at once goes to ``keep``, which returns
        the status to answer; others come elsewhere.

        Raises:
            DeliveryError: it could not be asked, or did not take the request.
        """


@runtime_checkable
class WindsDown(Protocol):
    """An adapter with several instances under way at once, which a peer would answer in vain."""

    def wind_down(self) -> None:
        """Have the ``send`` that is running offer no further instance.

        It yields the outcomes of those that are under way, and ends without an exception.
        """


class Adapter(ABC):
    """One connection to one target, for one worker; a context manager that always closes.

    The constructor takes the target's settings, already validated, and does nothing else.

    One adapter may serve several deliveries, one after the other: ``send``, ``finish``, and again
    ``send``. What it leaves open after an end without an exception is a connection that the next
    delivery can use, and nothing of a delivery: whoever owns the adapter closes it soon. A kept
    connection that is dead is opened anew where that shows before anything is sent; otherwise
    it is UNREACHABLE, and the owner closes the adapter and sends again.

    ``pace`` is set by the owner before anything is sent: all bytes of instances that leave keep to it.
    """

    pace: Pace = UNLIMITED

    @abstractmethod
    def check(self) -> CheckReport:
        """Report stage by stage whether the target can be used.

        Never raises for the remote's fault, and leaves nothing behind.
        """

    @abstractmethod
    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """Send instances and yield the outcome of each, in order, as soon as it is known.

        Sending an instance again ends in the same remote state, and nothing half-written is ever
        visible under its final name.

        Raises:
            DeliveryError: the connection is the problem; what was not yielded was not confirmed.
        """

    def finish(self, instances: Sequence[Outgoing]) -> None:  # noqa: B027 — most have nothing to do
        """Do what comes last, once every instance of a delivery is confirmed; may run twice.

        Raises:
            DeliveryError: it did not work.
        """

    def afterwards(self, instances: Sequence[Outgoing]) -> Callable[[], str] | None:
        """Return what is to be done only once, after a delivery is finished; None for nothing.

        Calling it does that and returns in words what came of it. It never raises: the delivery is
        finished, whatever comes of it.

        Raises:
            DeliveryError: it cannot be done now; nothing was done.
        """
        del instances
        return None

    def close(self) -> None:  # noqa: B027 — an adapter without a connection has nothing to close
        """Close the connection, in good order between deliveries and at once within one.

        Closing twice is fine, and so is use after it, which opens the connection anew.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
