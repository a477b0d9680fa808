"""A consumer in a process of its own: notes what it got in a file, and never finishes with it.

Usage: bus_holder.py URL QUEUE FILE
"""

import sys
import threading
from pathlib import Path

from crossdock.bus import connect
from crossdock.messages import DeliveryDiscardRequested, Message


def main(url: str, queue: str, notes: Path) -> None:
    forever = threading.Event()

    def hold(message: Message) -> None:
        assert isinstance(message, DeliveryDiscardRequested)
        notes.write_text(message.delivery)
        forever.wait()

    with connect(url) as bus:
        bus.consume(queue, hold)
        bus.listen("config.changed", hold)
        forever.wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
