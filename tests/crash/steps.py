"""The matrix: at which step who is killed, and what is left out for which reason."""

from dataclasses import dataclass

from crossdock.faults import POINTS, Point


VICTIMS = ("receiver", "router", "dispatcher", "config-api", "broker")

TIMES: dict[Point, int] = {
    "receiver.pdu_received": 4,
    "receiver.part_written": 4,
    "receiver.synced": 3,
    "receiver.renamed": 3,
    "receiver.name_synced": 3,
    "receiver.answered": 3,
    "router.delivery_published": 2,
    "dispatcher.instance_sent": 3,
    "dispatcher.response_received": 6,
    "dispatcher.file_linked": 3,
    "dispatcher.outcome_noted": 6,
    "config-api.event_consumed": 3,
    "config-api.event_recorded": 3,
    "config-api.acknowledged": 3,
}
"""How many times one process reaches a point before it happens; 1 where nothing is said."""

LEFT_OUT: dict[Point, str] = {
    "dispatcher.script_begun": "only rsync targets run a script; test_script.py is about it",
}
"""Points that are not in the matrix, and why."""

CHANGES: frozenset[Point] = frozenset(
    {"config-api.revision_written", "config-api.change_published"}
)
"""Points that only a change of the configuration reaches."""

IN_MAIN_PROCESS: frozenset[Point] = frozenset({"receiver.parcel_published"})
"""Points of the receiver that lie in no worker of it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A victim that is killed when a process reaches a point."""

    point: Point
    victim: str

    @property
    def owner(self) -> str:
        """The service that reaches the point."""
        return self.point.partition(".")[0]

    @property
    def kills_itself(self) -> bool:
        return self.owner == self.victim

    @property
    def in_worker(self) -> bool:
        """Whether it is a worker of the receiver that dies."""
        return self.kills_itself and self.owner == "receiver" and self.point not in IN_MAIN_PROCESS

    @property
    def sent_twice(self) -> int:
        """How many instances may be sent twice: what was under way in the one association.

        Only a dispatcher's death can do that. Whichever step it dies at, another thread of it may
        just have had an answer that the journal does not know.
        """
        return int(self.victim == "dispatcher")

    def __str__(self) -> str:
        return f"{self.point}-{self.victim}"


CASES = [Case(point, victim) for point in POINTS if point not in LEFT_OUT for victim in VICTIMS]
