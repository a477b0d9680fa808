"""The one window in which something is sent twice, to its exact size."""

from collections import Counter
from pathlib import Path

from crash.gateway import Gateway
from crash.house import House
from crash.modality import Modality
from crash.study import Study, make_study
from crossdock.faults import Point
from waiting import until


def _to_archive_alone(gateway: Gateway, window: int) -> None:
    """Have the archive as the only target, so that it is its delivery that reaches the point."""
    document = gateway.document
    archive, _ = document["targets"]
    (rule,) = document["rules"]
    gateway.configure(
        document
        | {"targets": [archive | {"window": window}], "rules": [rule | {"targets": ["archive"]}]}
    )
    gateway.wait_ready()


def _sent_again(house: House, point: Point, window: int, study: Study) -> Counter[str]:
    """Kill the dispatcher at a point; return what came to the archive more than once."""
    gateway = house.gateway()
    _to_archive_alone(gateway, window)
    gateway.arm(point, 3, pause=False)
    first, second = study.associations
    sender = Modality(house.store_port, [*first, *second])
    sender.start()
    try:
        until(lambda: gateway.fired(point), what=f"{point} is reached")
        gateway.wait_dead("dispatcher")
        gateway.start("dispatcher")
        until(lambda: house.recorded(study, targets=1), what="all has arrived")
    finally:
        sender.stop()
    confirmed = house.targets.confirmed(study)
    assert confirmed.keys() == study.wanted.keys()
    return confirmed - sender.offered


def test_with_one_instance_under_way_that_one_is_sent_again(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    with House(tmp_path, with_rabbitmq=False) as house:
        again = _sent_again(house, "dispatcher.response_received", 1, study)
    assert again.total() == 1


def test_with_several_under_way_no_more_than_these_are_sent_again(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    with House(tmp_path, with_rabbitmq=False) as house:
        again = _sent_again(house, "dispatcher.response_received", 3, study)
    assert 1 <= again.total() <= 3
    assert set(again.values()) == {1}
