"""Broadcasts and requests, on every bus."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.bus_brokers import Broker, message, text
from crossdock.errors import NoReply
from crossdock.messages import Message
from waiting import until


pytest_plugins = ["contract.bus_fixtures"]


def test_a_broadcast_reaches_everyone_who_listens(broker: Broker) -> None:
    topic, heard = broker.queue("config.changed"), list[tuple[int, str]]()
    for number in range(3):
        broker.open().listen(topic, lambda each, n=number: heard.append((n, text(each))))  # type: ignore[misc]  # the default argument binds the loop's number
    sender = broker.open()
    sender.broadcast(topic, message("one"))
    sender.broadcast(topic, message("two"))
    until(lambda: len(heard) == 6)
    for number in range(3):
        assert [each for n, each in heard if n == number] == ["one", "two"]


def test_a_broadcast_to_nobody_is_fine(broker: Broker) -> None:
    bus, topic, heard = broker.open(), broker.queue("config.changed"), list[Message]()
    bus.broadcast(topic, message("unheard"))
    bus.listen(topic, heard.append)
    bus.broadcast(topic, message("heard"))
    until(lambda: heard)
    assert heard == [message("heard")]


def test_who_has_closed_hears_nothing_and_who_fails_hears_on(broker: Broker) -> None:
    bus, topic = broker.open(), broker.queue("config.changed")
    gone, stays = list[Message](), list[Message]()

    def failing(each: Message) -> None:
        stays.append(each)
        raise RuntimeError("a broadcast comes once")

    bus.listen(topic, gone.append).close()
    broker.open().listen(topic, failing)
    bus.broadcast(topic, message(1))
    bus.broadcast(topic, message(2))
    until(lambda: stays == [message(1), message(2)])
    assert gone == []


def test_a_request_gets_its_answer(broker: Broker) -> None:
    queue = broker.queue("config")
    broker.open().serve(queue, lambda each: message(f"{text(each)}, sir"))
    assert broker.open().request(queue, message("yes"), timeout=60) == message("yes, sir")


def test_many_requests_at_once_get_their_own_answers(broker: Broker) -> None:
    server, clients, queue = broker.open(), [broker.open(), broker.open()], broker.queue()
    server.serve(queue, lambda each: message(f"re {text(each)}"), prefetch=4)

    def ask(number: int) -> str:
        return text(clients[number % 2].request(queue, message(number), timeout=60))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(40))) == [f"re {number}" for number in range(40)]


def test_without_an_answer_a_request_ends_in_time(broker: Broker) -> None:
    bus, queue, served = broker.open_and_answered(), broker.queue(), list[Message]()
    start = time.monotonic()
    with pytest.raises(NoReply):
        bus.request(queue, message("anybody?"), timeout=0.5)
    assert 0.4 < time.monotonic() - start < 60

    def respond(each: Message) -> Message:
        served.append(each)
        return each

    bus.serve(queue, respond)
    assert bus.request(queue, message("now?"), timeout=60) == message("now?")
    assert served == [message("now?")], "a request whose deadline has passed is dropped"


def test_a_responder_that_fails_answers_the_next(broker: Broker) -> None:
    bus, queue = broker.open_and_answered(), broker.queue()

    def respond(each: Message) -> Message:
        if text(each) == "bad":
            raise RuntimeError("no")
        return each

    bus.serve(queue, respond)
    with pytest.raises(NoReply):
        bus.request(queue, message("bad"), timeout=0.5)
    assert bus.request(queue, message("good"), timeout=60) == message("good")
