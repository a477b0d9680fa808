"""What RabbitMQ loads at its start: the file in the repository, on a real RabbitMQ."""

import json
from pathlib import Path

import pika
import pytest

from compose import RABBITMQ, make_secrets, rabbitmq_settings
from contract.bus_brokers import Broker, message, text
from crossdock.bus.rabbitmq.bus import exchange_name
from crossdock.bus.rabbitmq.definitions import definitions, main
from crossdock.bus.topology import CONFIG_CHANGED, QUEUES, TOPICS
from crossdock.messages import ConfigChanged, Message
from servers.rabbitmq import rabbitmq
from waiting import until


def test_the_definitions_in_the_repository_are_what_the_generator_writes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main()
    assert capsys.readouterr().out == (RABBITMQ / "definitions.json").read_text()
    assert "users" not in definitions()


def test_a_broker_that_loads_them_has_the_queues_and_carries_a_bus(tmp_path: Path) -> None:
    secrets = make_secrets(tmp_path / "secrets")
    with rabbitmq(tmp_path / "rabbitmq", rabbitmq_settings(tmp_path, secrets)) as server:
        url = (secrets / "broker-url").read_text()
        url = url.replace("@rabbitmq:5672/", f"@127.0.0.1:{server.port}/")
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            channel = connection.channel()
            for queue in QUEUES:
                channel.queue_declare(queue, passive=True)
            for topic in TOPICS:
                channel.exchange_declare(exchange_name(topic), "fanout", passive=True)
        broker = Broker("rabbitmq", url)
        try:
            _carries(broker)
        finally:
            broker.close()
    log = "".join(path.read_text() for path in (tmp_path / "rabbitmq/log").glob("*.log"))
    assert (secrets / "broker-password").read_text() not in log


def _carries(broker: Broker) -> None:
    """Check that a bus takes every queue and topic for its own."""
    bus, heard, came = broker.open(), list[Message](), list[str]()
    bus.listen(CONFIG_CHANGED, heard.append)
    for queue in QUEUES:
        bus.consume(queue, lambda each: came.append(text(each)))
        bus.send(queue, message(queue))
    bus.broadcast(CONFIG_CHANGED, ConfigChanged(revision=7))
    until(lambda: sorted(came) == sorted(QUEUES) and heard, what="all of it comes")


def test_the_secret_user_has_the_password_of_the_brokers_url(tmp_path: Path) -> None:
    users = json.loads((make_secrets(tmp_path) / "rabbitmq-users.json").read_text())
    assert [user["name"] for user in users["users"]] == ["crossdock"]
    assert users["users"][0]["password"] in (tmp_path / "broker-url").read_text()
