"""A dispatcher may die between any two of its steps: nothing is lost, and nothing is sent twice
but what was under way to the target when it died.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossdock.bus import Retry
from crossdock.config.targets import FolderTarget
from crossdock.messages import Message
from crossdock.model import DeliveryState, InstanceOutcome
from crossdock.protocols import ADAPTERS, Outgoing
from crossdock.protocols.folder import FolderAdapter
from unit.dispatcher.places import Place


INSTANCES = 4


class Killed(BaseException):
    """The process is gone; the kernel gives its locks back."""


class Fuse:
    """Kills after a number of steps."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            raise Killed


class CountingFolder(FolderAdapter):
    """The folder adapter, with a look at what goes out, and a fuse around it."""

    def __init__(self, fuse: Fuse, sent: Counter[int], lost: Counter[int], target: FolderTarget):
        super().__init__(target)
        self._fuse = fuse
        self._sent = sent
        self._lost = lost

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        for outgoing in instances:
            self._fuse.burn()
            for outcome in super().send([outgoing]):
                self._sent[outcome.number] += 1
                self._burn_before_the_journal(outcome.number)
                yield outcome

    def _burn_before_the_journal(self, number: int) -> None:
        try:
            self._fuse.burn()
        except Killed:
            self._lost[number] += 1
            raise


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(deaths=st.lists(st.integers(0, 2 * INSTANCES + 6), max_size=4))
def test_every_instance_is_sent_once_wherever_dispatchers_die(
    monkeypatch: pytest.MonkeyPatch, deaths: list[int]
) -> None:
    fuse, sent, lost = Fuse(), Counter[int](), Counter[int]()
    monkeypatch.setitem(ADAPTERS, "folder", partial(CountingFolder, fuse, sent, lost))
    with tempfile.TemporaryDirectory() as directory:
        place = Place(Path(directory))
        try:
            stored, message = place.parcel(INSTANCES)
            _arm(place, monkeypatch, fuse)
            for steps in deaths:
                fuse.left = steps
                try:
                    place.dispatch()(place.target(), message)
                except (Killed, Retry):
                    continue
            fuse.left = None
            place.dispatch()(place.target(), message)
            assert len(place.contents()) == INSTANCES
            assert sent == {n: 1 + lost[n] for n in range(1, INSTANCES + 1)}
            assert all(end.state is DeliveryState.DELIVERED for end in place.ends(1))
            assert place.attempts(1)[-1].delivered == INSTANCES
            concluded = place.spool.find(stored.id) or next(place.spool.all_retired())
            assert concluded.targets("done") == ["research"]
            assert concluded.targets("pending") == []
        finally:
            place.close()


def _arm(place: Place, monkeypatch: pytest.MonkeyPatch, fuse: Fuse) -> None:
    """Let the fuse burn before and after each message, too."""
    send = place.bus.send

    def burning(queue: str, message: Message, *, delay: float = 0.0) -> None:
        fuse.burn()
        send(queue, message, delay=delay)
        fuse.burn()

    monkeypatch.setattr(place.bus, "send", burning)
