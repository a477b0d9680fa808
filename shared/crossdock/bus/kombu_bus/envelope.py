"""Between letters and what kombu puts on the wire."""

import base64
import json
from typing import Any

from crossdock.bus.letter import Letter


Channel = Any  # one of kombu's, which has no types; each broker's has methods of its own


def prepare(channel: Channel, letter: Letter) -> dict[str, Any]:
    """Return a letter as a kombu message, ready to be published."""
    message: dict[str, Any] = channel.prepare_message(
        letter.body,
        content_type="application/octet-stream",
        content_encoding="binary",
        headers=letter.headers(),
        properties={"delivery_mode": 2},
    )
    return message


def parse(raw: bytes, queue: str, tag: str) -> dict[str, Any]:
    """Return what was read from a broker as kombu's raw message with the delivery tag ``tag``.

    What is no message of kombu's becomes one whose body is what was read: it will be found
    undecodable and end among the dead, where somebody can look at it.
    """
    delivery = {"exchange": "", "routing_key": queue}
    properties = {"delivery_tag": tag, "delivery_info": delivery, "body_encoding": "base64"}
    try:
        message = json.loads(raw)
        body, headers = message["body"], message["headers"]
        base64.b64decode(body, validate=True)
        dict(**headers)
    except (ValueError, TypeError, KeyError):
        body, headers = base64.b64encode(raw).decode(), {}
    return {
        "body": body,
        "headers": headers,
        "content-type": "application/octet-stream",
        "content-encoding": "binary",
        "properties": properties,
    }
