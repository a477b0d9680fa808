"""A dispatcher's surroundings: a spool, a bus in memory, a folder to deliver to, a ledger."""

import secrets
import threading
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

from contract.remotes import make_target
from crossdock.bus import Bus, connect
from crossdock.bus.topology import LEDGER
from crossdock.config.targets import Target
from crossdock.messages import DeliveryAttempted, DeliveryFinished, Message
from crossdock.spool import StoredParcel
from dispatcher.adapters import Adapters
from dispatcher.dispatch import Dispatch
from dispatcher.retry import Failure, RetryPolicy
from parcels import make_spool, route, store_parcel
from studies import dataset_bytes, make_ct
from waiting import until


class Place:
    """Everything that one dispatcher needs, below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spool = make_spool(directory / "spool")
        self.folder = directory / "folder"
        self.folder.mkdir()
        self.url = f"memory://{secrets.token_hex(4)}"
        self.bus = connect(self.url)
        self.stopping = threading.Event()
        self.ledger: list[Message] = []
        self.reports: list[Failure | None] = []
        self.again: list[bool] = []
        self._listener = connect(self.url)
        self._listener.consume(LEDGER, self.ledger.append)

    def target(self, name: str = "research", **changes: object) -> Target:
        naming = "{InstanceNumber}/{SOPInstanceUID}.dcm"
        settings = {"path": str(self.folder), "naming": naming, "complete_marker": False}
        return make_target({"type": "folder", "name": name, **settings, **changes})

    def parcel(self, count: int, *targets: str) -> tuple[StoredParcel, Message]:
        """Store and route a parcel; return it and the message of its first delivery."""
        stored = store_parcel(self.spool, make_ct(self.directory / secrets.token_hex(4), count))
        messages = route(stored, *(targets or ("research",)))
        return stored, messages[0]

    def dispatch(
        self,
        bus: Bus | None = None,
        scale: float = 1.0,
        enough: Callable[[], bool] = lambda: False,
    ) -> Callable[[Target, Message], None]:
        """Return a dispatcher that has just started, ready to handle messages."""
        policy = RetryPolicy().scaled(scale)
        dispatch = Dispatch(self.spool, bus or self.bus, policy, self.stopping)

        def handle(target: Target, message: Message) -> None:
            with closing(Adapters(target)) as adapters:
                dispatch.handle(adapters, message, self.hear, lambda: nullcontext(enough))

        return handle

    def hear(self, failure: Failure | None, *, again: bool) -> None:
        """Hear how an attempt ended, and leave no target alone."""
        self.reports.append(failure)
        self.again.append(again)

    def hold(self, stored: StoredParcel, target: str, reason: str) -> None:
        """Have a dispatcher hold a delivery."""
        Dispatch(self.spool, self.bus, RetryPolicy(), self.stopping).hold(stored, target, reason)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*.dcm") if path.is_file())

    def contents(self) -> list[bytes]:
        return sorted(dataset_bytes(path) for path in self.files())

    def attempts(self, count: int) -> list[DeliveryAttempted]:
        """Wait until the ledger has heard of this many attempts, and return them."""
        return until(lambda: self._heard(DeliveryAttempted, count), what=f"{count} attempts")

    def ends(self, count: int) -> list[DeliveryFinished]:
        """Wait until the ledger has heard of this many ends, and return them."""
        return until(lambda: self._heard(DeliveryFinished, count), what=f"{count} ends")

    def _heard(self, kind: type, count: int) -> list:  # type: ignore[type-arg]  # of that kind
        found = [message for message in list(self.ledger) if isinstance(message, kind)]
        return found if len(found) >= count else []

    def close(self) -> None:
        self.bus.close()
        self._listener.close()
