"""What every bus promises, whatever the broker."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from contract.bus_brokers import Broker, Garbage, message, text
from crossdock.bus import Retry, connect
from crossdock.errors import BusError, NoReply
from crossdock.messages import DeliveryDiscardRequested, Message
from waiting import until


pytest_plugins = ["contract.bus_fixtures"]


def test_messages_are_handed_out_once_and_in_order(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[Message]()
    sent = [message(number) for number in range(50)]
    for each in sent[:25]:
        bus.send(queue, each)
    bus.consume(queue, got.append)
    for each in sent[25:]:
        bus.send(queue, each)
    until(lambda: len(got) >= 50)
    assert got == sent


def test_a_message_sent_by_one_bus_reaches_another(broker: Broker) -> None:
    queue, got = broker.queue(), list[Message]()
    broker.open().consume(queue, got.append)
    broker.open().send(queue, message("hello"))
    until(lambda: got == [message("hello")])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=st.text(max_size=200), reason=st.text(max_size=200))
def test_any_text_comes_out_as_it_went_in(broker: Broker, sent: str, reason: str) -> None:
    bus = broker.buses[0] if broker.buses else broker.open()
    queue = broker.queue()
    got = list[Message]()
    original = DeliveryDiscardRequested(delivery=sent, reason=reason)
    bus.send(queue, original)
    subscription = bus.consume(queue, got.append)
    until(lambda: got)
    subscription.close()
    bus.delete(queue)
    assert got == [original]


def test_a_big_message_travels(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[Message]()
    bus.consume(queue, got.append)
    bus.send(queue, message("big", size=5_000_000))
    until(lambda: got == [message("big", size=5_000_000)])


@pytest.mark.parametrize("name", ["a", "deliveries.PACS-1_b", "-", "_x..y", "A" * 100])
def test_queues_may_be_named_as_targets_are(broker: Broker, name: str) -> None:
    bus, queue, got = broker.open(), broker.queue(name), list[Message]()
    bus.consume(queue, got.append)
    bus.send(queue, message("hello"))
    until(lambda: got)
    assert bus.depth(queue) == 0


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a@b", "a b", "ä", "x" * 200, "a\n"])
def test_other_names_are_refused(broker: Broker, name: str) -> None:
    bus = broker.open()
    with pytest.raises(ValueError, match="cannot name a queue"):
        bus.send(name, message())
    with pytest.raises(ValueError, match="cannot name a queue"):
        bus.listen(name, lambda _: None)


def test_each_message_goes_to_one_of_several_consumers(broker: Broker) -> None:
    queue, got = broker.queue(), list[str]()
    for _ in range(3):
        broker.open().consume(queue, lambda each: got.append(text(each)), prefetch=2)
    sender = broker.open()
    for number in range(60):
        sender.send(queue, message(number))
    until(lambda: len(got) >= 60)
    assert Counter(got) == Counter(str(number) for number in range(60))


def test_prefetch_is_how_many_handlers_run_at_once(broker: Broker) -> None:
    bus, queue = broker.open(), broker.queue()
    together, lock, running, most, handled = threading.Barrier(3), threading.Lock(), 0, 0, 0

    def handler(_: Message) -> None:
        nonlocal running, most, handled
        with lock:
            running += 1
            most = max(most, running)
        together.wait(60)
        with lock:
            running -= 1
            handled += 1

    for number in range(9):
        bus.send(queue, message(number))
    bus.consume(queue, handler, prefetch=3)
    until(lambda: handled == 9)
    assert most == 3


def test_a_failing_handler_gets_the_message_again(broker: Broker) -> None:
    bus, queue, tries = broker.open(), broker.queue(), list[str]()

    def handler(each: Message) -> None:
        tries.append(text(each))
        if tries.count(text(each)) < 3:
            raise RuntimeError("not yet")

    bus.consume(queue, handler)
    bus.send(queue, message("a"))
    bus.send(queue, message("b"))
    until(lambda: Counter(tries) == {"a": 3, "b": 3})
    assert bus.depth(f"dead.{queue}") == 0


def test_after_eight_failures_a_message_is_dead(broker: Broker) -> None:
    bus, queue, tries, dead = broker.open(), broker.queue(), list[Message](), list[Message]()

    def handler(each: Message) -> None:
        tries.append(each)
        raise RuntimeError("never")

    bus.consume(queue, handler)
    bus.send(queue, message("poison"))
    until(lambda: bus.depth(f"dead.{queue}") == 1)
    assert len(tries) == 8
    bus.consume(f"dead.{queue}", dead.append)
    until(lambda: dead == [message("poison")])


def test_a_retry_comes_after_its_delay_and_never_counts_as_failure(broker: Broker) -> None:
    bus, queue, tries = broker.open(), broker.queue(), list[float]()

    def handler(_: Message) -> None:
        tries.append(time.monotonic())
        if len(tries) < 11:
            raise Retry(0.5 if len(tries) == 1 else 0.0)

    bus.consume(queue, handler)
    bus.send(queue, message())
    until(lambda: len(tries) == 11)
    assert 0.45 < tries[1] - tries[0] < 5


def test_delayed_messages_come_when_they_are_due(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[tuple[str, float]]()
    bus.consume(queue, lambda each: got.append((text(each), time.monotonic())))
    start = time.monotonic()
    bus.send(queue, message("late"), delay=2.0)
    bus.send(queue, message("soon"), delay=0.5)
    bus.send(queue, message("now"))
    until(lambda: len(got) == 3)
    assert [name for name, _ in got] == ["now", "soon", "late"]
    waited = {name: moment - start for name, moment in got}
    assert 0.45 < waited["soon"] < 1.8
    assert 1.95 < waited["late"] < 8


def test_a_delay_runs_while_nobody_consumes_and_outlives_its_sender(broker: Broker) -> None:
    sender, queue, got = broker.open(), broker.queue(), list[Message]()
    due = time.monotonic() + 1
    sender.send(queue, message("patience"), delay=1.0)
    assert sender.depth(queue) == 0
    sender.close()
    broker.open().consume(queue, got.append)
    until(lambda: got)
    assert time.monotonic() > due - 0.05


def test_a_delayed_message_survives_a_change_of_consumer(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[Message]()
    first = broker.open()
    first.consume(queue, got.append)
    bus.send(queue, message("later"), delay=1.0)
    bus.send(queue, message("now"))
    until(lambda: got == [message("now")])
    first.close()
    bus.consume(queue, got.append)
    until(lambda: got == [message("now"), message("later")])


def test_what_cannot_be_decoded_is_dead_and_harms_nobody(broker: Broker) -> None:
    before = REGISTRY.get_sample_value("crossdock_dead_messages_total")
    assert before is not None
    bus, queue, got = broker.open(), broker.queue(), list[Message]()
    bus.send(queue, Garbage())
    bus.send(queue, message("fine"))
    bus.consume(queue, got.append)
    until(lambda: got == [message("fine")])
    until(lambda: bus.depth(f"dead.{queue}") == 1)
    until(lambda: REGISTRY.get_sample_value("crossdock_dead_messages_total") == before + 1)


def test_depth_counts_what_is_ready_and_delete_removes_it(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[Message]()
    assert bus.depth(queue) == 0
    for number in range(5):
        bus.send(queue, message(number))
    bus.send(queue, message("delayed"), delay=1.0)
    assert bus.depth(queue) == 5
    bus.delete(queue)
    bus.delete(queue)
    assert bus.depth(queue) == 0
    bus.consume(queue, got.append)
    bus.send(queue, message("new"), delay=1.5)
    until(lambda: got)
    assert got == [message("new")]


def test_a_consumer_goes_on_when_its_queue_is_deleted(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[Message]()
    bus.consume(queue, got.append)
    bus.send(queue, message("before"))
    until(lambda: got)
    broker.open().delete(queue)
    bus.send(queue, message("after"))
    until(lambda: message("after") in got)


def test_close_waits_for_running_handlers_and_returns_the_rest(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[Message]()
    began, proceed, finished = threading.Event(), threading.Event(), threading.Event()

    def handler(_: Message) -> None:
        began.set()
        proceed.wait(60)
        finished.set()

    for number in range(3):
        bus.send(queue, message(number))
    subscription = bus.consume(queue, handler)
    assert began.wait(60)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(subscription.close, 20.0)
        until(lambda: bus.depth(queue) == 2)
        assert not closing.done()
        proceed.set()
        closing.result(60)
    assert finished.is_set()
    subscription.close()
    broker.open().consume(queue, got.append)
    until(lambda: got == [message(1), message(2)])


def test_a_handler_that_outlives_close_keeps_its_message(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[Message]()
    began, proceed = threading.Event(), threading.Event()

    def slow(_: Message) -> None:
        began.set()
        proceed.wait(60)

    bus.send(queue, message("long"))
    subscription = bus.consume(queue, slow)
    assert began.wait(60)
    subscription.close(timeout=0.1)
    broker.open().consume(queue, got.append)
    bus.send(queue, message("next"))
    until(lambda: got)
    proceed.set()
    assert got == [message("next")]


def test_many_threads_may_send(broker: Broker) -> None:
    bus, queue, got = broker.open(), broker.queue(), list[str]()
    bus.consume(queue, lambda each: got.append(text(each)), prefetch=4)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: bus.send(queue, message(number)), range(200)))
    until(lambda: len(got) >= 200)
    assert Counter(got) == Counter(str(number) for number in range(200))


def test_a_handler_may_send_and_close_its_own_subscription(broker: Broker) -> None:
    bus, queue, onward, got = broker.open(), broker.queue(), broker.queue(), list[Message]()

    def handler(each: Message) -> None:
        bus.send(onward, each)
        subscription.close()

    subscription = bus.consume(queue, handler)
    bus.consume(onward, got.append)
    bus.send(queue, message("through"))
    until(lambda: got == [message("through")])


def test_closing_leaves_no_thread_and_a_closed_bus_says_so(broker: Broker) -> None:
    before = threading.active_count()
    bus, queue = broker.open_and_answered(), broker.queue()
    bus.consume(queue, lambda _: None, prefetch=4)
    bus.listen(broker.queue("topic"), lambda _: None)
    bus.serve(broker.queue("served"), lambda each: each)
    bus.send(queue, message())
    with pytest.raises(NoReply):
        bus.request(broker.queue("unserved"), message(), timeout=0.1)
    until(lambda: bus.connected)
    bus.close()
    bus.close()
    until(lambda: threading.active_count() <= before)
    assert not bus.connected
    with pytest.raises(BusError):
        bus.send(queue, message())


@pytest.mark.parametrize(
    "url",
    ["kafka://user:s3cret@x/", "nothing", "amqp://u:s3cret@h:port/", "filesystem://relative"],
)
def test_a_url_of_no_use_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BusError) as refused:
        connect(url)
    assert "s3cret" not in str(refused.value)
    assert "://" in str(refused.value)
