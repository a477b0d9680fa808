"""A broker and a peer whose time and mishaps a test decides."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from crossdock.bus import Bus, Subscription
from crossdock.bus.base import Handler, Responder
from crossdock.config.targets import Target
from crossdock.errors import DeliveryError
from crossdock.messages import Message
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols import Adapter, Outgoing


class Killed(BaseException):
    """The process is gone; the kernel gives its locks back."""


class Stop(Exception):  # noqa: N818 — reads as what is wanted
    """The peer is in the middle of an answer when the dispatcher is told to stop."""


class SimulatedBus(Bus):
    """Queues by the simulated clock, for one thread. ``mishaps`` are raised by the next sends.

    A mishap of None is a send that works. What was sent before a mishap stays sent.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.queues: dict[str, list[tuple[float, Message]]] = defaultdict(list)
        self.mishaps: list[BaseException | None] = []
        self.told: list[tuple[str, Message]] = []

    def send(self, queue: str, message: Message, *, delay: float = 0.0) -> None:
        mishap = self.mishaps.pop(0) if self.mishaps else None
        if mishap is not None:
            raise mishap
        self.queues[queue].append((self.now + delay, message))

    def due(self, queue: str) -> list[Message]:
        return [message for due, message in self.queues[queue] if due <= self.now]

    def take(self, queue: str) -> Message | None:
        """Take the first message that is due."""
        for place, (due, message) in enumerate(self.queues[queue]):
            if due <= self.now:
                del self.queues[queue][place]
                return message
        return None

    def give_back(self, queue: str, message: Message, delay: float = 0.0) -> None:
        self.queues[queue].append((self.now + delay, message))

    def depth(self, queue: str) -> int:
        return len(self.due(queue))

    def delete(self, queue: str) -> None:
        self.queues.pop(queue, None)

    def broadcast(self, topic: str, message: Message) -> None:
        self.told.append((topic, message))

    def consume(self, queue: str, handler: Handler, *, prefetch: int = 1) -> Subscription:
        del handler, prefetch
        return self._by_hand(queue)

    def listen(self, topic: str, handler: Handler) -> Subscription:
        del handler
        return self._by_hand(topic)

    def serve(self, queue: str, responder: Responder, *, prefetch: int = 1) -> Subscription:
        del responder, prefetch
        return self._by_hand(queue)

    def request(self, queue: str, message: Message, *, timeout: float) -> Message:
        del message, timeout
        return self._by_hand(queue)

    def _by_hand(self, name: str) -> NoReturn:
        raise AssertionError(f"the test itself takes what is in {name}")

    @property
    def connected(self) -> bool:
        return True

    def close(self) -> None:
        self.queues.clear()


@dataclass
class Plan:
    """What a peer answers to the instances of one attempt, in turn, and what ends the attempt.

    ``end`` is raised once ``after`` instances have been answered; None lets the attempt end well.
    """

    answers: list[Outcome] = field(default_factory=lambda: [Outcome.DELIVERED])
    after: int = 0
    end: BaseException | None = None


class Peer:
    """The far end of all targets: follows a plan, and knows what is confirmed to the dispatcher.

    ``asked`` counts attempts, and ``repeated`` instances that were offered again though confirmed.
    """

    def __init__(self) -> None:
        self.plan = Plan()
        self.stop = lambda: None
        self.confirmed: dict[tuple[str, str], set[int]] = defaultdict(set)
        self.raised: BaseException | None = None
        self.asked = 0
        self.repeated = 0

    def adapter(self, target: Target) -> "SimulatedAdapter":
        return SimulatedAdapter(self, target.name)

    def answers(self, target: str, offered: list[Outgoing]) -> Iterator[InstanceOutcome]:
        self.asked += 1
        for count, outgoing in enumerate(offered):
            self._perhaps_end(count)
            known = self.confirmed[outgoing.path.parent.name, target]
            number = outgoing.instance.number
            self.repeated += number in known
            answer = self.plan.answers[count % len(self.plan.answers)]
            yield outgoing.outcome(answer, "0000", "as planned")
            # The dispatcher asks for the next one only when this one is in its journal.
            if answer is not Outcome.REFUSED:
                known.add(number)
        self._perhaps_end(len(offered))

    def _perhaps_end(self, count: int) -> None:
        end = self.plan.end
        if end is None or count != min(self.plan.after, 3):
            return
        if isinstance(end, Stop):
            self.stop()
            return
        self.raised = end
        raise end


class SimulatedAdapter(Adapter):
    """The near end of the simulated peer."""

    def __init__(self, peer: Peer, target: str) -> None:
        self._peer = peer
        self._target = target

    def check(self) -> CheckReport:
        return CheckReport(stages=())

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        return self._peer.answers(self._target, list(instances))


def says_of_target(error: BaseException | None) -> bool:
    """Whether an error of an adapter is about the target and not about the delivery."""
    if not isinstance(error, DeliveryError):
        return False
    return error.temporary or error.kind.value not in ("refused", "unexpected")
