"""A delivery that ends for now keeps what a peer was about to answer."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.remotes import dicom_target
from crossdock.bus import Retry
from servers.keeper import Keeper, keeping
from unit.dispatcher.places import Place


COUNT = 120


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({}, True),
        ({}, False),
        ({"associations": 3}, False),
        ({"pass_calling_ae_title": True}, False),
    ],
)
def test_what_was_under_way_at_the_end_is_not_sent_again(
    place: Place, *, changes: dict[str, object], stops: bool
) -> None:
    stored, message = place.parcel(COUNT, "research")
    keeper = Keeper()

    def enough() -> bool:
        if stops:
            place.stopping.set()
        return not stops

    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1], name="research", **changes)
        with pytest.raises(Retry):
            place.dispatch(enough=enough)(target, message)
        noted, begun = stored.record("research"), len(keeper.instances)
        place.stopping.clear()
        place.dispatch()(target, message)
    assert 1 < begun < COUNT
    assert (len(noted.outcomes), noted.setbacks) == (begun, 0)
    assert set(Counter(kept.sop_instance_uid for kept in keeper.instances).values()) == {1}
    assert place.ends(1)[0].delivered == COUNT


def test_with_keep_order_nothing_is_under_way(place: Place) -> None:
    stored, message = place.parcel(5, "research")
    keeper = Keeper()
    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1], name="research", keep_order=True)
        with pytest.raises(Retry):
            place.dispatch(enough=lambda: True)(target, message)
    assert len(stored.record("research").outcomes) == len(keeper.instances) == 1
