"""What bus tests open and send."""

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from crossdock.bus import Bus, connect
from crossdock.bus.core import LetterBus
from crossdock.messages import DeliveryDiscardRequested, Message


class Garbage(Message):
    """What no reader can understand, though the bus must carry it."""

    type: Literal["garbage"] = "garbage"

    def encode(self) -> bytes:
        return b"\xff\x00 no message"


@dataclass
class Broker:
    """A broker and the buses that a test opens on it; all are closed when the test ends."""

    kind: str
    url: str
    buses: list[Bus] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _salt: str = field(default_factory=lambda: secrets.token_hex(4))

    def open(self) -> Bus:
        bus = connect(self.url, name="test")
        assert isinstance(bus, LetterBus)
        bus.first_retry = 0.01
        self.buses.append(bus)
        return bus

    def open_and_answered(self) -> Bus:
        """Open a bus over which a request was answered, so that nothing has to be connected any more."""
        bus, queue = self.open(), self.queue("echo")
        bus.serve(queue, lambda each: each)
        assert bus.request(queue, message("there?"), timeout=60) == message("there?")
        return bus

    def queue(self, name: str = "deliveries.PACS-1_a") -> str:
        """Return a name that no other test uses."""
        return f"{name}.{self._salt}.{next(self._numbers)}"

    def close(self) -> None:
        for bus in self.buses:
            bus.close()


def message(text: object = "", size: int = 0) -> DeliveryDiscardRequested:
    return DeliveryDiscardRequested(delivery=str(text), reason="x" * size)


def text(of: Message) -> str:
    assert isinstance(of, DeliveryDiscardRequested)
    return of.delivery
