"""Fault points: the steps of the flow at which a test kills a process, or has it wait.

They are there for the proof that a crash loses nothing (``tests/crash``), and do nothing unless
``CROSSDOCK_FAULTS`` names a directory. A file in it, named like a point, arms that point: it holds
how many times the point is to be reached in one process, and ``pause`` if the process is to wait
there instead of being killed::

    mkdir faults; echo 3 > faults/dispatcher.instance_sent
    CROSSDOCK_FAULTS=faults crossdock up

When the time has come the file is renamed to ``<point>.fired`` and the process is killed as by
``kill -9``, or the thread that reached the point waits until that file is removed. The rename
happens once, so however many processes there are, and however often they start again, one dies.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, get_args


Point = Literal[
    "receiver.pdu_received",
    "receiver.part_written",
    "receiver.synced",
    "receiver.renamed",
    "receiver.name_synced",
    "receiver.answered",
    "receiver.parcel_closed",
    "receiver.parcel_published",
    "router.parcel_consumed",
    "router.part_held",
    "router.event_published",
    "router.marker_written",
    "router.delivery_published",
    "router.acknowledged",
    "dispatcher.delivery_consumed",
    "dispatcher.try_noted",
    "dispatcher.instance_sent",
    "dispatcher.response_received",
    "dispatcher.file_linked",
    "dispatcher.outcome_noted",
    "dispatcher.script_begun",
    "dispatcher.attempt_published",
    "dispatcher.end_published",
    "dispatcher.concluded",
    "dispatcher.retired",
    "dispatcher.acknowledged",
    "config-api.event_consumed",
    "config-api.event_recorded",
    "config-api.acknowledged",
    "config-api.revision_written",
    "config-api.change_published",
]
"""Every point, in flow order; what is before the dot is the service that reaches it."""

POINTS: Final[tuple[Point, ...]] = get_args(Point)
FIRED: Final = ".fired"

_LOOK_SECONDS = 0.005


class Faults:
    """The points as one process reaches them, armed by the files in ``directory``.

    Raises:
        ValueError: something in the directory is no point.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._times: dict[Point, int] = {}
        self._lock = threading.Lock()
        for file in directory.iterdir():
            if file.name.removesuffix(FIRED) not in POINTS:
                raise ValueError(f"{file}: there is no such fault point")

    def reached(self, point: Point) -> None:
        """Die or wait here if that is wanted."""
        file = self._directory / point
        try:
            wanted = file.read_text().split()
        except FileNotFoundError:
            self._times.pop(point, None)
            return
        if not wanted:  # somebody is just writing it
            return
        fired = file.with_name(point + FIRED)
        if not self._is_time(point, int(wanted[0])) or not _renamed(file, fired):
            return
        if wanted[1:] != ["pause"]:
            os.kill(os.getpid(), signal.SIGKILL)
        while fired.exists():
            time.sleep(_LOOK_SECONDS)

    def _is_time(self, point: Point, wanted: int) -> bool:
        with self._lock:
            times = self._times[point] = self._times.get(point, 0) + 1
        return times >= wanted


def _renamed(file: Path, fired: Path) -> bool:
    try:
        file.rename(fired)
    except FileNotFoundError:  # another thread or process was first
        return False
    return True


def _nothing(_point: Point) -> None:
    """Do nothing, at the price of a call: there are points between two system calls."""


def _bound() -> Callable[[Point], None]:
    directory = os.environ.get("CROSSDOCK_FAULTS")
    return Faults(Path(directory)).reached if directory else _nothing


reached: Final = _bound()
"""Say that this process has reached a point. Chosen once, at the start of the process."""
