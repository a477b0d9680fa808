"""One delivery over several associations side by side, its outcomes in order all the same."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from crossdock.errors import CrossdockError, DeliveryError, ErrorKind
from crossdock.model import InstanceOutcome
from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import fault


Send = Callable[[Iterable[Outgoing]], Iterator[InstanceOutcome]]
"""Sends instances over an association of its own."""

_End = CrossdockError | None
"""How a lane ended: with what stopped it, None if it came to the end of its instances."""


class Lanes:
    """Deals instances out to ``sends``, each in a thread of its own.

    ``interrupt`` must make them all fail soon; it is called when one has failed, or nobody wants
    the outcomes any longer. Where the peer is only busy, ``wind_down`` is called first, which must
    make them end soon.
    """

    def __init__(
        self,
        sends: Sequence[Send],
        interrupt: Callable[[], None],
        wind_down: Callable[[], None],
    ) -> None:
        self._sends = sends
        self._interrupt = interrupt
        self._wind_down = wind_down

    def send(self, instances: Sequence[Outgoing]) -> Iterator[InstanceOutcome]:
        """Yield the outcomes in order; when a lane fails, what the others know is yielded first.

        Raises:
            DeliveryError: as the first lane to fail raised it.
        """
        lanes = [
            _Lane(send, instances[number :: len(self._sends)])
            for number, send in enumerate(self._sends)
        ]
        ended_well = False
        try:
            yield from self._merge(lanes, len(instances))
            ended_well = True
        finally:
            if not ended_well:
                self._interrupt()
            for lane in lanes:
                lane.join()

    def _merge(self, lanes: Sequence["_Lane"], count: int) -> Iterator[InstanceOutcome]:
        failure: CrossdockError | None = None
        for index in range(count):
            found = lanes[index % len(lanes)].next()
            if isinstance(found, InstanceOutcome):
                yield found
            elif failure is None and found is not None:
                failure = found
                self._wind_down() if _is_busy(found) else self._interrupt()
        if failure is not None:
            raise failure


def _is_busy(error: CrossdockError) -> bool:
    return isinstance(error, DeliveryError) and error.kind is ErrorKind.BUSY


class _Lane:
    """A part of the instances on its way, in a thread."""

    def __init__(self, send: Send, part: Sequence[Outgoing]) -> None:
        self._send = send
        self._part = part
        self._outcomes: queue.SimpleQueue[InstanceOutcome | _End] = queue.SimpleQueue()
        self._end: _End | InstanceOutcome = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="dicom-lane", daemon=True)
        self._thread.start()

    def next(self) -> InstanceOutcome | _End:
        """Return the next outcome, or for ever after its last one how the lane ended."""
        if self._ended:
            return self._end
        found = self._outcomes.get()
        if not isinstance(found, InstanceOutcome):
            self._ended, self._end = True, found
        return found

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        end: _End = None
        try:
            for outcome in self._send(self._part):
                self._outcomes.put(outcome)
        except CrossdockError as error:
            end = error
        except Exception as error:  # noqa: BLE001 — outermost: whoever merges must hear of it
            end = fault(error)
        self._outcomes.put(end)
