"""From a URL to a bus."""

from urllib.parse import urlsplit

from crossdock.bus.base import Bus
from crossdock.errors import BusError


RABBITMQ = ("amqp", "amqps")
KOMBU = ("filesystem", "memory", "redis", "rediss")


def connect(url: str, *, name: str = "") -> Bus:
    """Return a bus on the broker at ``url``; ``name`` shows up in the broker's own lists.

    It does not wait for the broker: the bus connects by itself, now or when the broker comes up.

    ====================  =============================================================
    ``amqp(s)://…``       RabbitMQ
    ``filesystem:///DIR`` a directory, for the processes of one machine
    ``redis(s)://…``      Redis, for several machines
    ``memory://NAME``     within this process, for tests
    ====================  =============================================================

    Raises:
        BusError: the URL is of no known kind, or makes no sense; its password is never quoted.
    """
    scheme = urlsplit(url).scheme
    # Only the library of the one broker is loaded: either takes a tenth of a second.
    if scheme in RABBITMQ:
        from crossdock.bus.rabbitmq import RabbitBus  # noqa: PLC0415 — as above

        return RabbitBus(url, name=name)
    if scheme in KOMBU:
        from crossdock.bus.kombu_bus import KombuBus  # noqa: PLC0415 — as above

        return KombuBus(url, name=name)
    known = ", ".join(f"{scheme}://" for scheme in RABBITMQ + KOMBU)
    raise BusError(f"no broker is known for {scheme or 'a URL without a scheme'}: use {known}")
