"""What only config-api reads from the environment."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass

from crossdock.settings import Settings


DEFAULT_LEDGER_DAYS = 365


@dataclass(frozen=True, slots=True)
class Options:
    """The settings that no other service has.

    Attributes:
        ledger_days: days that finished deliveries stay in the ledger (``CROSSDOCK_LEDGER_DAYS``);
            0 keeps them for ever.
        requires: services that must be ready for this one to be ready (``CROSSDOCK_REQUIRES``,
            separated by commas): a name on this machine, HOST:PORT elsewhere.
    """

    ledger_days: int = DEFAULT_LEDGER_DAYS
    requires: tuple[str, ...] = ()


def options_from(environment: Mapping[str, str] = os.environ) -> Options:
    """Read the options.

    Raises:
        ValueError: ``CROSSDOCK_LEDGER_DAYS`` is no whole number of days.
    """
    days = environment.get("CROSSDOCK_LEDGER_DAYS") or str(DEFAULT_LEDGER_DAYS)
    if not (days.isascii() and days.isdigit()):
        raise ValueError(f"CROSSDOCK_LEDGER_DAYS={days!r}: use a number of days, 0 for ever")
    names = (name.strip() for name in environment.get("CROSSDOCK_REQUIRES", "").split(","))
    return Options(ledger_days=int(days), requires=tuple(name for name in names if name))


def is_loopback(host: str) -> bool:
    """Whether a listening address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal_to_listen(settings: Settings) -> str | None:
    """Return why the API must not start with these settings, None if it may."""
    if settings.api_token or is_loopback(settings.http_host):
        return None
    return (
        f"config-api refuses to listen on {settings.http_host} without a token: whoever reaches "
        "it could send patient data anywhere. Set CROSSDOCK_API_TOKEN or CROSSDOCK_API_TOKEN_FILE, "
        "or listen on this machine only with CROSSDOCK_HTTP=127.0.0.1:8080."
    )
