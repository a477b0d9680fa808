"""What every bus promises when a process or the broker dies under it."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from redis import Redis as Client

from contract.bus_brokers import Broker, message, text
from crossdock.bus import Bus
from crossdock.bus.core import LetterBus
from crossdock.errors import BusError
from crossdock.messages import Message
from servers.rabbitmq import RabbitMQ, rabbitmq
from servers.redis import Redis, redis
from waiting import until


pytest_plugins = ["contract.bus_fixtures"]

HOLDER = Path(__file__).with_name("bus_holder.py")
Server = RabbitMQ | Redis
SERVERS: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "rabbitmq": rabbitmq,
    "redis": redis,
}


@contextmanager
def holder(broker: Broker, queue: str, notes: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that takes one message of a queue and keeps it."""
    process = subprocess.Popen([sys.executable, str(HOLDER), broker.url, queue, str(notes)])
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def written(notes: Path) -> Callable[[], bool]:
    return lambda: notes.is_file() and notes.read_text() != ""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with SERVERS[request.param](tmp_path / "server") as server:
        yield server


@pytest.fixture
def outage_broker(server: Server) -> Iterator[Broker]:
    """A broker that a test may kill."""
    broker = Broker(type(server).__name__, server.url)
    yield broker
    broker.close()


def patient(bus: Bus, seconds: float) -> Bus:
    assert isinstance(bus, LetterBus)
    bus.timeout = seconds
    return bus


def grow_old(bus: Bus) -> None:
    """Return when the queues are a second old.

    RabbitMQ 3.10 notes new queues every half second: kill it before, and they never work again.
    """
    got = list[Message]()
    bus.consume("age", got.append)
    bus.send("age", message(), delay=1.0)
    until(lambda: got)


def test_what_a_killed_consumer_held_goes_to_another(shared_broker: Broker, tmp_path: Path) -> None:
    bus, queue, got = shared_broker.open(), shared_broker.queue(), list[Message]()
    bus.send(queue, message("held"))
    with holder(shared_broker, queue, tmp_path / "notes") as process:
        until(written(tmp_path / "notes"))
        bus.consume(queue, got.append)
        bus.send(queue, message("other"))
        until(lambda: got == [message("other")])
        process.kill()
        until(lambda: got == [message("other"), message("held")])
    assert bus.depth(queue) == 0


def test_who_dies_while_it_gives_back_what_others_held_keeps_nobody_from_that(
    redis_broker: Broker, tmp_path: Path
) -> None:
    queue, got = redis_broker.queue(), list[Message]()
    redis_broker.open().send(queue, message("held"))
    redis_broker.close()  # so that nobody else gives anything back
    with (
        holder(redis_broker, queue, tmp_path / "notes") as process,
        Client.from_url(redis_broker.url.partition("?")[0]) as client,
    ):
        until(written(tmp_path / "notes"))
        gives_back = partial(client.exists, "crossdock.unacked_mutex")
        until(lambda: _stopped_while(process, gives_back), step=0)
        process.kill()
    redis_broker.open().consume(queue, got.append)
    until(lambda: got == [message("held")])


def _stopped_while(process: subprocess.Popen[bytes], condition: Callable[[], object]) -> bool:
    """Stop a process if a condition holds, and let it go on if it holds no longer."""
    if condition():
        process.send_signal(signal.SIGSTOP)
        if condition():
            return True
        process.send_signal(signal.SIGCONT)
    return False


def test_a_message_in_work_for_long_stays_with_its_consumer(
    shared_broker: Broker, tmp_path: Path
) -> None:
    bus, queue, got = shared_broker.open(), shared_broker.queue(), list[Message]()
    bus.send(queue, message("held"))
    with holder(shared_broker, queue, tmp_path / "notes"):
        until(written(tmp_path / "notes"))
        bus.consume(queue, got.append)
        # Twice the time after which the tests' Redis takes a silent consumer for dead.
        bus.send(queue, message("later"), delay=4.0)
        until(lambda: got)
    assert text(got[0]) == "later"


def test_a_killed_listener_harms_nobody(shared_broker: Broker, tmp_path: Path) -> None:
    bus, queue, heard = shared_broker.open(), shared_broker.queue(), list[Message]()
    bus.send(queue, message("started"))
    with holder(shared_broker, queue, tmp_path / "notes") as process:
        until(written(tmp_path / "notes"))
        process.kill()
    bus.listen("config.changed", heard.append)
    bus.broadcast("config.changed", message("to the living"))
    until(lambda: heard == [message("to the living")])


def test_delayed_messages_survive_the_death_of_their_consumer(
    shared_broker: Broker, tmp_path: Path
) -> None:
    bus, queue, got = shared_broker.open(), shared_broker.queue(), list[str]()
    bus.send(queue, message("held"))
    with holder(shared_broker, queue, tmp_path / "notes") as process:
        until(written(tmp_path / "notes"))
        bus.send(queue, message("delayed"), delay=1.0)
        process.kill()
    bus.consume(queue, lambda each: got.append(text(each)))
    until(lambda: sorted(got) == ["delayed", "held"])


def test_a_broker_that_dies_and_comes_back(outage_broker: Broker, server: Server) -> None:
    bus, queue, waiting = outage_broker.open(), outage_broker.queue(), outage_broker.queue()
    got, heard, kept = list[str](), list[str](), list[str]()
    bus.consume(queue, lambda each: got.append(text(each)))
    bus.listen("topic", lambda each: heard.append(text(each)))
    bus.serve("served", lambda each: each)
    bus.send(queue, message("before"))
    bus.send(waiting, message("confirmed"))
    bus.send(waiting, message("delayed"), delay=15.0)
    until(lambda: got == ["before"])
    grow_old(bus)

    server.kill()
    until(lambda: not bus.connected)
    start = time.monotonic()
    with pytest.raises(BusError):
        patient(bus, 1.0).send(queue, message("lost"))
    with pytest.raises(BusError):
        bus.depth(queue)
    assert time.monotonic() - start < 20

    server.start()
    patient(bus, 90.0).send(queue, message("after"))
    until(lambda: "after" in got)
    bus.consume(waiting, lambda each: kept.append(text(each)))
    until(lambda: set(kept) == {"confirmed", "delayed"})
    assert bus.request("served", message("still there?"), timeout=30) == message("still there?")

    def hears() -> bool:
        bus.broadcast("topic", message("again"))
        return "again" in heard

    until(hears)
    assert bus.connected


def test_a_send_bridges_a_short_outage(outage_broker: Broker, server: Server) -> None:
    bus, queue, got = patient(outage_broker.open(), 90.0), outage_broker.queue(), list[Message]()
    bus.consume(queue, got.append)
    bus.send(queue, message("before"))
    until(lambda: got)
    grow_old(bus)
    server.kill()
    server.start(wait=False)
    bus.send(queue, message("during"))
    until(lambda: message("during") in got)


def test_a_bus_may_be_opened_before_its_broker(outage_broker: Broker, server: Server) -> None:
    server.kill()
    bus, queue, got = patient(outage_broker.open(), 90.0), outage_broker.queue(), list[Message]()
    bus.consume(queue, got.append)
    assert not bus.connected
    server.start(wait=False)
    bus.send(queue, message("early"))
    until(lambda: got == [message("early")])


def test_a_bus_whose_broker_never_comes_closes_at_once(
    outage_broker: Broker, server: Server
) -> None:
    server.kill()
    bus = outage_broker.open()
    bus.consume(outage_broker.queue(), lambda _: None)
    start = time.monotonic()
    bus.close()
    assert time.monotonic() - start < 10


def test_consumers_go_on_when_the_directory_is_wiped(tmp_path: Path) -> None:
    broker = Broker("filesystem", f"filesystem://{tmp_path / 'broker'}")
    bus, sender, queue, got = broker.open(), broker.open(), broker.queue(), list[Message]()
    bus.consume(queue, got.append)
    sender.send(queue, message("before"))
    until(lambda: got)
    shutil.rmtree(tmp_path / "broker")
    sender.send(queue, message("after"))
    until(lambda: message("after") in got)
    broker.close()


def test_consumers_go_on_when_rabbitmq_has_lost_everything(tmp_path: Path) -> None:
    with rabbitmq(tmp_path / "server") as server:
        broker = Broker("rabbitmq", server.url)
        bus, queue, got = patient(broker.open(), 90.0), broker.queue(), list[Message]()
        bus.consume(queue, got.append)
        bus.send(queue, message("before"))
        until(lambda: got)
        server.kill()
        shutil.rmtree(tmp_path / "server" / "mnesia")
        server.start()
        bus.send(queue, message("after"))
        until(lambda: message("after") in got)
        broker.close()
