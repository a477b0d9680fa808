"""Whoever is killed at whatever step: what got a success arrives, unchanged and once."""

import threading
from collections import Counter
from pathlib import Path

import pytest

from crash.gateway import Gateway, wait_worker_dead
from crash.house import House
from crash.modality import Modality
from crash.steps import CASES, CHANGES, TIMES, Case
from crash.study import make_study
from crash.targets import Sent
from waiting import until


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_got_a_success_arrives_once_whoever_is_killed(
    house: House, case: Case, tmp_path: Path
) -> None:
    study, gateway = make_study(tmp_path), house.gateway()
    workers = gateway.workers()
    gateway.arm(case.point, TIMES.get(case.point, 1), pause=not case.kills_itself)
    senders = [Modality(house.store_port, files) for files in study.associations]
    threads = [*senders, *([_Change(gateway, study.uid)] if case.point in CHANGES else [])]
    for thread in threads:
        thread.start()
    try:
        until(lambda: gateway.fired(case.point), what=f"{case.point} is reached")
        journalled = _kill(house, gateway, case, workers)
        until(lambda: not any(thread.is_alive() for thread in threads), what="all is sent")
        until(lambda: house.settled(study), what="all has arrived")
        if not (case.victim == "broker" and gateway.broker.forgets):
            until(lambda: house.recorded(study), what="the ledger says so", step=0.1)
    finally:
        for sender in senders:
            sender.stop()
    offered: Counter[str] = sum((sender.offered for sender in senders), Counter())
    house.check(study, Sent(offered, case.sent_twice, journalled))
    if case.in_worker:
        gateway.restart("receiver")  # a worker that dies often is started later each time
    house.sound = True


def _kill(house: House, gateway: Gateway, case: Case, workers: list[int]) -> set[str]:
    """Have the victim die at the step, and start it again; return what was journalled by then."""
    if case.in_worker:
        wait_worker_dead(workers)  # the receiver replaces it
        return set()
    if case.kills_itself:
        gateway.wait_dead(case.victim)
    else:
        gateway.kill(case.victim)
    journalled = house.journalled() if case.victim == "dispatcher" else set()
    if not case.kills_itself:
        gateway.release(case.point)
    gateway.start(case.victim)
    return journalled


class _Change(threading.Thread):
    """Somebody who changes the configuration meanwhile."""

    def __init__(self, gateway: Gateway, description: str) -> None:
        super().__init__(daemon=True)
        self._gateway = gateway
        (node,) = gateway.document["store_nodes"]
        self._document = gateway.document | {"store_nodes": [node | {"description": description}]}

    def run(self) -> None:
        self._gateway.configure(self._document)
