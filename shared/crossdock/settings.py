"""Where a process finds its data, its broker and its database: the environment, with defaults.

No setting is without a default on one machine.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


DEFAULT_DATA = "data"
DEFAULT_HTTP = "127.0.0.1:8080"
MOST_WORKERS = 64
_DEFAULT_WORKERS = 4  # at most: more would outrun most disks


@dataclass(frozen=True, slots=True)
class Reserve:
    """What is to stay free on a file system: the smaller of a number of bytes and a share."""

    bytes: float = 1_000_000_000
    share: float = 0.05

    def of(self, total: int) -> int:
        """Return it in bytes, for a file system of ``total`` bytes."""
        return int(min(self.bytes, self.share * total))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        data: the directory that holds everything (``CROSSDOCK_DATA``).
        broker: the broker's URL (``CROSSDOCK_BROKER``); a directory below ``data`` by default.
        database: SQLAlchemy URL (``CROSSDOCK_DATABASE``); SQLite below ``data`` by default.
        http_host, http_port: where to serve HTTP (``CROSSDOCK_HTTP``); port 0 picks a free one.
        log_level: ``debug``, ``info``, ``warning`` or ``error`` (``CROSSDOCK_LOG``).
        retention_seconds: how long a parcel is kept when all its deliveries are final
            (``CROSSDOCK_RETENTION_HOURS``, 24 by default).
        spool_reserve: what is to stay free where the spool is (``CROSSDOCK_SPOOL_RESERVE``: bytes,
            or a share such as ``10%``; the smaller of 5 % and 1 GB by default).
        receiver_workers: processes that receive side by side (``CROSSDOCK_RECEIVER_WORKERS``; as
            many as there are cores to use by default, but no more than 4).
        api_token: what API callers must present (``CROSSDOCK_API_TOKEN``), None if unset.
    """

    data: Path
    broker: str
    database: str
    http_host: str
    http_port: int
    log_level: str
    retention_seconds: float
    api_token: str | None
    spool_reserve: Reserve = Reserve()
    receiver_workers: int = 1

    @property
    def spool(self) -> Path:
        """The spool's directory, shared by receiver, router and dispatchers."""
        return self.data / "spool"

    @property
    def run(self) -> Path:
        """Where each running process says its pid and HTTP address."""
        return self.data / "run"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        ValueError: ``CROSSDOCK_HTTP`` is no HOST:PORT; ``CROSSDOCK_LOG`` is no level;
            ``CROSSDOCK_RETENTION_HOURS`` is no number; ``CROSSDOCK_SPOOL_RESERVE`` is no reserve;
            ``CROSSDOCK_RECEIVER_WORKERS`` is no number from 1 to 64.
    """
    data = Path(environment.get("CROSSDOCK_DATA") or DEFAULT_DATA).absolute()
    host, port = split_address(environment.get("CROSSDOCK_HTTP") or DEFAULT_HTTP)
    level = (environment.get("CROSSDOCK_LOG") or "info").lower()
    if level not in ("debug", "info", "warning", "error"):
        raise ValueError(f"CROSSDOCK_LOG={level!r}: use debug, info, warning or error")
    return Settings(
        data=data,
        broker=environment.get("CROSSDOCK_BROKER") or f"filesystem://{data / 'broker'}",
        database=environment.get("CROSSDOCK_DATABASE") or f"sqlite:///{data / 'crossdock.sqlite'}",
        http_host=host,
        http_port=port,
        log_level=level,
        retention_seconds=_hours(environment.get("CROSSDOCK_RETENTION_HOURS") or "24"),
        api_token=environment.get("CROSSDOCK_API_TOKEN") or None,
        spool_reserve=_reserve(environment.get("CROSSDOCK_SPOOL_RESERVE") or ""),
        receiver_workers=_workers(environment.get("CROSSDOCK_RECEIVER_WORKERS") or ""),
    )


def _reserve(text: str) -> Reserve:
    number = text.removesuffix("%").strip()
    if not text:
        return Reserve()
    if number.isdecimal() and not text.endswith("%"):
        return Reserve(bytes=int(number), share=1.0)
    if number.isdecimal() and int(number) < 100:  # noqa: PLR2004 — per cent
        return Reserve(bytes=math.inf, share=int(number) / 100)
    raise ValueError(f"CROSSDOCK_SPOOL_RESERVE={text!r}: use bytes, or a share such as 5%")


def _workers(text: str) -> int:
    if not text:
        return min(len(os.sched_getaffinity(0)), _DEFAULT_WORKERS)
    if text.isdecimal() and 1 <= int(text) <= MOST_WORKERS:
        return int(text)
    raise ValueError(f"CROSSDOCK_RECEIVER_WORKERS={text!r}: use a number from 1 to {MOST_WORKERS}")


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < math.inf:
        raise ValueError(f"CROSSDOCK_RETENTION_HOURS={text!r}: use a number of hours, 0 or more")
    return hours * 3600.0


def split_address(address: str) -> tuple[str, int]:
    """Split ``HOST:PORT``, ``[IPv6]:PORT`` or ``:PORT`` (every address).

    Raises:
        ValueError: it is none of these.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 — the highest port
        raise ValueError(f"{address!r} is no HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 — asked for by the empty host
