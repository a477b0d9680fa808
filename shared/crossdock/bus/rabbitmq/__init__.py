"""The bus on RabbitMQ, through pika. Nothing outside this folder sees pika or its exceptions."""

import logging

from crossdock.bus.rabbitmq.bus import RabbitBus


__all__ = ["RabbitBus"]

# What pika reports is handled and logged here, in our words; pika's add the connection's details.
logging.getLogger("pika").setLevel(logging.CRITICAL)
