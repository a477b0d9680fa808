"""Deliveries that follow each other go over one connection; peers count associations."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from contract.remotes import Answers, dicom_target, scripted
from crossdock.bus.topology import deliveries
from crossdock.config.snapshot import Gateway
from crossdock.config.targets import Target
from crossdock.model import DeliveryState
from dispatcher import consume
from dispatcher.adapters import Adapters
from dispatcher.consume import Consumers
from dispatcher.dispatch import Dispatch
from dispatcher.retry import RetryPolicy
from parcels import route, store_parcel
from servers.certificates import Authority
from servers.dcmtk import storescp
from servers.keeper import Keeper, keeping
from servers.samples import sample
from unit.dispatcher.places import Place
from waiting import until


class Sending:
    """A dispatcher at work, and the deliveries that it is given."""

    def __init__(self, place: Place) -> None:
        self.place = place
        policy = RetryPolicy().scaled(0.02)
        dispatch = Dispatch(place.spool, place.bus, policy, place.stopping)
        self.consumers = Consumers(place.bus, dispatch.handle, ["dicom", "dicom+tls"], policy)
        self.consumers.start()
        self._delivered = 0

    def configure(self, *targets: Target) -> None:
        self.consumers.configure(Gateway.model_construct(targets=targets))

    def queue(self, count: int, instances: int = 1) -> None:
        """Have ``count`` deliveries of some CT instances each wait."""
        for _ in range(count):
            _, message = self.place.parcel(instances, "remote")
            self.place.bus.send(deliveries("remote"), message)

    def deliver(self, count: int, instances: int = 1) -> None:
        """Send deliveries and wait until they are delivered."""
        self.queue(count, instances)
        self.await_delivered(count)

    def deliver_sample(self, name: str) -> None:
        """Send one of the samples and wait until it is delivered."""
        stored = store_parcel(self.place.spool, [sample(name)])
        (message,) = route(stored, "remote", protocol="dicom")
        self.place.bus.send(deliveries("remote"), message)
        self.await_delivered(1)

    def await_delivered(self, more: int) -> None:
        self._delivered += more
        ends = self.place.ends(self._delivered)
        assert {end.state for end in ends} == {DeliveryState.DELIVERED}

    @property
    def tries(self) -> list[int]:
        """Which attempt each one was; 1 throughout if none was in vain."""
        return [attempt.attempt for attempt in self.place.attempts(self._delivered)]


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    place = Place(tmp_path / "place")
    sending = Sending(place)
    yield sending
    place.stopping.set()
    sending.consumers.close(5.0)
    place.close()


@pytest.fixture
def keeping_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections are not released by us, however long the test takes."""
    lasting = partial(Adapters, idle=600.0, longest=600.0)
    monkeypatch.setattr(consume, "Adapters", lasting)


def test_what_waits_in_a_queue_goes_over_one_association_released_soon_after(
    sending: Sending, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with storescp(tmp_path / "peer", "-v", log=log) as peer:
        sending.queue(20)
        sending.configure(dicom_target(peer.port))
        sending.await_delivered(20)
        assert len(peer.files()) == 20
        assert log.read_text().count("Association Acknowledged") == 1
        until(lambda: "Association Release" in log.read_text(), what="the release")
    assert "Abort" not in log.read_text()


def test_over_tls_it_is_one_association_too(sending: Sending, tmp_path: Path) -> None:
    issued = (authority := Authority(tmp_path / "ca")).issue("peer", alternative="IP:127.0.0.1")
    words = ("+tls", issued.key, issued.certificate, "-ic", "-v")
    log = tmp_path / "log"
    with storescp(tmp_path / "peer", *map(str, words), log=log) as peer:
        sending.queue(5)
        tls = {"ca": str(authority.certificate)}
        sending.configure(dicom_target(peer.port, type="dicom+tls", tls=tls))
        sending.await_delivered(5)
        assert log.read_text().count("Association Acknowledged") == 1
        until(lambda: "Association Release" in log.read_text(), what="the release")


def test_each_delivery_of_several_at_once_has_an_association_of_its_own(sending: Sending) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        sending.queue(24)
        sending.configure(dicom_target(scp.address[1], concurrency=3))
        sending.await_delivered(24)
        assert len(keeper.admitted) <= 3
        until(lambda: keeper.balanced, what="all are released")


@pytest.mark.usefixtures("keeping_on")
def test_associations_side_by_side_are_kept_too(sending: Sending) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        sending.queue(5, instances=6)
        sending.configure(dicom_target(scp.address[1], associations=3))
        sending.await_delivered(5)
        sending.deliver(3, instances=2)
        assert len(keeper.admitted) == 3
        assert len(keeper.committed) == 36


@pytest.mark.usefixtures("keeping_on")
def test_a_peer_that_closes_while_idle_costs_no_attempt_and_no_time(sending: Sending) -> None:
    keeper = Keeper()
    with keeping(keeper, idle_timeout=0.2) as scp:
        sending.configure(dicom_target(scp.address[1]))
        for number in range(1, 4):
            sending.deliver(1)
            until(lambda number=number: len(keeper.over) == number, what="the end")
        assert len(keeper.admitted) == 3
    assert sending.tries == [1, 1, 1]


@pytest.mark.usefixtures("keeping_on")
def test_of_associations_side_by_side_those_that_the_peer_closed_are_made_anew(
    sending: Sending,
) -> None:
    keeper = Keeper()
    with keeping(keeper, idle_timeout=0.2) as scp:
        sending.configure(dicom_target(scp.address[1], associations=2))
        sending.deliver(1, instances=4)
        until(lambda: len(keeper.over) == 2, what="the ends")
        sending.deliver(1, instances=4)
    assert sending.tries == [1, 1]


@pytest.mark.usefixtures("keeping_on")
@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        ([0x0000, "abort", 0x0000], [1, 1]),  # the second delivery, over the kept association
        ([0x0000, "abort", "abort", 0x0000], [1, 1, 2]),  # and once is enough
    ],
)
def test_an_association_that_breaks_before_anything_is_confirmed_is_made_anew_once(
    sending: Sending, answers: Answers, tries: list[int]
) -> None:
    with scripted(answers) as port:
        sending.configure(dicom_target(port))
        sending.deliver(1)
        sending.deliver(1)
    assert sending.tries == tries


@pytest.mark.usefixtures("keeping_on")
def test_an_association_that_breaks_after_something_is_confirmed_is_a_failure(
    sending: Sending,
) -> None:
    with scripted([0x0000, 0x0000, "abort"]) as port:
        sending.configure(dicom_target(port))
        sending.deliver(1)
        sending.deliver(1, instances=2)
    assert sending.tries == [1, 1, 2]


@pytest.mark.usefixtures("keeping_on")
def test_changed_settings_end_the_association_at_once(sending: Sending) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        sending.configure(dicom_target(scp.address[1]))
        sending.deliver(2)
        sending.configure(dicom_target(scp.address[1], calling_ae_title="OTHER"))
        until(lambda: len(keeper.over) == 1, what="the old one is released")
        sending.deliver(2)
        assert [caller.calling_ae_title for caller in keeper.admitted] == ["CROSSDOCK", "OTHER"]


@pytest.mark.usefixtures("keeping_on")
def test_a_disabled_target_and_a_dispatcher_that_stops_keep_no_association(
    sending: Sending,
) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        target = dicom_target(scp.address[1])
        sending.configure(target)
        sending.deliver(1)
        sending.configure(target.model_copy(update={"enabled": False}))
        until(lambda: len(keeper.over) == 1, what="the release")
        sending.configure(target)
        sending.deliver(1)
        sending.consumers.close(5.0)
        until(lambda: len(keeper.over) == 2, what="the release")


def test_after_a_failure_the_association_is_not_used_again(sending: Sending) -> None:
    keeper = Keeper()
    answers = iter([0x0000, 0xA700, 0x0000])
    keeper.on_commit = lambda: next(answers)
    with keeping(keeper) as scp:
        sending.configure(dicom_target(scp.address[1]))
        sending.deliver(1)
        sending.deliver(1)
        assert len(keeper.admitted) == 2
    assert sending.tries == [1, 1, 2]


def test_contexts_that_are_missing_are_negotiated_and_kept_with_the_others(
    sending: Sending,
) -> None:
    keeper = Keeper()
    with keeping(keeper) as scp:
        sending.configure(dicom_target(scp.address[1]))
        for _ in range(3):
            sending.deliver_sample("CT_small.dcm")
            sending.deliver_sample("MR_small_RLE.dcm")
        assert len(keeper.admitted) == 2
        assert len(keeper.instances) == 6
    assert sending.tries == [1] * 6
