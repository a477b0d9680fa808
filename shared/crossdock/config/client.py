"""How a service comes by its configuration and learns of changes."""

import json
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import CONFIG, CONFIG_CHANGED
from crossdock.config.snapshot import Gateway, usable_gateway
from crossdock.errors import BusError
from crossdock.messages import ConfigChanged, ConfigPublished, ConfigRequested, Message
from crossdock.telemetry import raised_at


log = structlog.get_logger(__name__)

_POLL_SECONDS = 5.0  # a broadcast may be missed; a question never lies
_ANSWER_SECONDS = 2.0

OnChange = Callable[[Gateway, int], None]


class ConfigClient:
    """Keeps the configuration of a service up to date.

    It starts from the copy on disk, asks config-api, and asks again on ``config.changed`` and every
    few seconds. ``on_change`` is called from one thread, with each newer configuration.
    """

    def __init__(self, bus: Bus, service: str, copy: Path, on_change: OnChange) -> None:
        self._bus = bus
        self._service = service
        self._copy = copy
        self._on_change = on_change
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="config", daemon=True)
        self.revision = 0
        self._made_at = 0.0
        self.gateway = Gateway()

    def start(self) -> None:
        """Apply the copy on disk, if there is one, and keep asking for newer ones."""
        self._load_copy()
        self._listener = self._bus.listen(CONFIG_CHANGED, self._heard)
        self._thread.start()

    def problem(self) -> str | None:
        """Return why there is no configuration to work by, None if there is one."""
        return None if self.revision else "no configuration yet: config-api has not answered"

    def close(self) -> None:
        """Stop asking."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                answered = self._ask()
            except Exception as error:  # noqa: BLE001 — this thread must outlive a bad revision
                log.error("config.not_applied", error=type(error).__name__, where=raised_at(error))
                answered = True
            self._wake.wait(_POLL_SECONDS if answered else 0.5)

    def _heard(self, message: Message) -> None:
        if isinstance(message, ConfigChanged):
            self._wake.set()

    def _ask(self) -> bool:
        question = ConfigRequested(
            service=self._service, revision=self.revision, made_at=self._made_at
        )
        try:
            answer = self._bus.request(CONFIG, question, timeout=_ANSWER_SECONDS)
        except BusError:
            return False
        if isinstance(answer, ConfigPublished) and answer.document is not None:
            self._apply(answer, answer.document)
            self._save_copy(answer)
        return True

    def _apply(self, published: ConfigPublished, document: dict[str, object]) -> None:
        self.gateway = usable_gateway(document)
        self.revision, self._made_at = published.revision, published.made_at
        log.info("config.applied", revision=self.revision)
        self._on_change(self.gateway, self.revision)

    def _load_copy(self) -> None:
        published = read_copy(self._copy)
        if published is not None and published.document is not None:
            self._apply(published, published.document)

    def _save_copy(self, published: ConfigPublished) -> None:
        """Keep the configuration for a start without config-api; failing to is no disaster."""
        temporary = self._copy.with_suffix(f".{secrets.token_hex(4)}")
        try:
            self._copy.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(published.model_dump(mode="json")))
            temporary.replace(self._copy)
        except OSError as error:
            log.warning("config.copy_not_saved", path=str(self._copy), reason=error.strerror)


def fetch(bus: Bus, service: str) -> ConfigPublished | None:
    """Return the configuration in force, None if nobody answers."""
    question = ConfigRequested(service=service)
    try:
        answer = bus.request(CONFIG, question, timeout=_ANSWER_SECONDS)
    except BusError:
        return None
    return answer if isinstance(answer, ConfigPublished) else None


def read_copy(copy: Path) -> ConfigPublished | None:
    """Return the configuration that a service kept on disk, None if there is none to be read."""
    try:
        return ConfigPublished.model_validate_json(copy.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        log.warning("config.copy_unreadable", path=str(copy))
        return None
