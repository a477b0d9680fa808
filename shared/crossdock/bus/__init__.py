"""Messages between services: one small interface, every broker behind it.

``connect(url)`` picks the implementation: ``amqp://`` and ``amqps://`` are RabbitMQ through pika;
``filesystem://``, ``memory://``, ``redis://`` and the rest are kombu's.
"""

from crossdock.bus.base import Bus, Retry, Subscription
from crossdock.bus.connect import connect


__all__ = ["Bus", "Retry", "Subscription", "connect"]
