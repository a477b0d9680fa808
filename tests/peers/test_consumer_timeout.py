"""RabbitMQ takes a message back that is in work for longer than its ``consumer_timeout``.

Its least is what it is set to here, and the time between two looks at it: then it closes the
channel of the consumer, and hands the message out again.
"""

import secrets
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from contract.remotes import dicom_target
from crossdock.bus import connect
from crossdock.bus.topology import LEDGER, deliveries
from crossdock.config.snapshot import Gateway
from crossdock.messages import DeliveryFinished, Message
from crossdock.model import DeliveryState
from dispatcher.consume import Consumers
from dispatcher.dispatch import Dispatch
from dispatcher.retry import RetryPolicy
from parcels import make_spool, route, store_parcel
from servers.keeper import Keeper, keeping
from servers.rabbitmq import RabbitMQ, rabbitmq
from studies import make_ct
from waiting import until


SETTINGS = {"consumer_timeout": 1000, "channel_tick_interval": 250}  # milliseconds
FAST = RetryPolicy().scaled(0.02)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq"), **SETTINGS) as server:
        yield server


class Site:
    """A spool, a PACS, and dispatchers, each on a bus of its own."""

    def __init__(self, directory: Path, url: str) -> None:
        self.spool = make_spool(directory / "spool")
        self.name = f"archive-{secrets.token_hex(4)}"
        self.keeper = Keeper()
        self.bus = connect(url)
        self.ended: list[DeliveryFinished] = []
        self.bus.consume(LEDGER, self._hear)
        self._directory, self._url = directory, url
        self._stack = ExitStack()
        self._port = self._stack.enter_context(keeping(self.keeper)).address[1]

    def _hear(self, message: Message) -> None:
        if isinstance(message, DeliveryFinished):
            self.ended.append(message)

    def dispatcher(self, **changes: object) -> None:
        """Start another dispatcher."""
        bus, stopping = self._stack.enter_context(closing(connect(self._url))), threading.Event()
        dispatch = Dispatch(self.spool, bus, FAST, stopping)
        consumers = Consumers(bus, dispatch.handle, ["dicom"], FAST)
        consumers.start()
        target = dicom_target(self._port, name=self.name, **changes)
        consumers.configure(Gateway.model_construct(targets=(target,)))
        self._stack.callback(consumers.close, 5.0)
        self._stack.callback(stopping.set)

    def deliver(self, count: int) -> str:
        """Have a parcel delivered, instances of 100 kB; return the delivery."""
        paths = make_ct(self._directory / secrets.token_hex(4), count, size=100_000)
        (message,) = route(store_parcel(self.spool, paths), self.name, protocol="dicom")
        self.bus.send(deliveries(self.name), message)
        return message.delivery

    def ends(self, count: int) -> list[str]:
        """Wait for the ends of so many deliveries; return which were delivered, in order."""
        until(lambda: len(self.ended) >= count, what=f"{count} ends")
        assert {end.state for end in self.ended} == {DeliveryState.DELIVERED}
        return [end.delivery for end in self.ended]

    def is_quiet(self, *, refused: int = 0) -> None:
        """Wait until no message is left, and see that nothing was told twice, or sent for nothing.

        ``refused`` instances had to be sent twice.
        """
        until(lambda: not self.bus.depth(deliveries(self.name)), what="no message is left")
        sent = [kept.sop_instance_uid for kept in self.keeper.instances]
        assert len(sent) - len({*sent}) == refused
        ends = [end.delivery for end in self.ended]
        assert len({*ends}) == len(ends)

    def close(self) -> None:
        self._stack.close()
        self.bus.close()


@pytest.fixture
def site(tmp_path: Path, broker: RabbitMQ) -> Iterator[Site]:
    site = Site(tmp_path, broker.url)
    yield site
    site.close()


def taken_back(logs: list[MutableMapping[str, Any]], site: Site) -> int:
    """How often RabbitMQ took deliveries of a site back."""
    closed = [each for each in logs if each["event"] == "bus.consumer.restarted"]
    return sum(each["queue"] == deliveries(site.name) for each in closed)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_delivery_that_takes_longer_ends_once_and_others_follow(
    site: Site, concurrency: int
) -> None:
    with capture_logs() as logs:
        site.dispatcher(concurrency=concurrency, bandwidth="300 kB/s")
        long = site.deliver(12)
        until(lambda: taken_back(logs, site), what="it is taken back")
        assert site.ended == []
        short = site.deliver(1)
        assert sorted(site.ends(2)) == sorted([long, short])
        site.is_quiet()


def test_it_is_sent_by_no_other_dispatcher_and_goes_on_after_a_failure(site: Site) -> None:
    answers = iter([0x0000] * 8 + [0xA700])
    site.keeper.on_commit = lambda: next(answers, 0x0000)
    with capture_logs() as logs:
        for _ in range(2):
            site.dispatcher(bandwidth="300 kB/s")
        long = site.deliver(12)
        assert site.ends(1) == [long]
        site.is_quiet(refused=1)
    assert taken_back(logs, site)
    assert len(site.keeper.instances) == 13
    assert [each["kind"] for each in logs if each["event"] == "delivery.retry"] == ["busy"]
