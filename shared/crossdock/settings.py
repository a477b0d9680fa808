"""Where a process finds its data, its broker and its database: the environment, with defaults.

No setting is without a default on one machine.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


DEFAULT_DATA = "data"
DEFAULT_HTTP = "127.0.0.1:8080"
API_TOKEN = "CROSSDOCK_API_TOKEN"  # noqa: S105 — the name of a variable
MOST_WORKERS = 64
_DEFAULT_WORKERS = 4  # at most: more would outrun most disks


_BYTES = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kKMGT])(i?)B|B)?")
RELIEF = 1.1
"""With this much of its reserve free, a spool that was full takes in again: no flapping."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """What is to stay free on a file system: the smaller of a number of bytes and a share."""

    bytes: float = 1_000_000_000
    share: float = 0.05

    def of(self, total: int) -> int:
        """Return it in bytes, for a file system of ``total`` bytes."""
        return int(min(self.bytes, self.share * total))


_LOW_WATER = Reserve(bytes=2_000_000_000, share=0.1)


@dataclass(frozen=True, slots=True)
class Marks:
    """Free bytes of the spool's file system below which something is done about it.

    Attributes:
        low_water: delivered parcels are deleted before their time.
        high_water: senders are refused for the moment.
    """

    low_water: int
    high_water: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        data: the directory that holds everything (``CROSSDOCK_DATA``).
        broker: the broker's URL (``CROSSDOCK_BROKER`` or ``CROSSDOCK_BROKER_FILE``); a directory
            below ``data`` by default.
        database: SQLAlchemy URL (``CROSSDOCK_DATABASE`` or ``CROSSDOCK_DATABASE_FILE``); SQLite
            below ``data`` by default.
        http_host, http_port: where to serve HTTP (``CROSSDOCK_HTTP``); port 0 picks a free one.
        log_level: ``debug``, ``info``, ``warning`` or ``error`` (``CROSSDOCK_LOG``).
        retention_seconds: how long a parcel is kept when all its deliveries are final
            (``CROSSDOCK_RETENTION_HOURS``, 24 by default).
        retention_bytes: how much such parcels may take together (``CROSSDOCK_RETENTION_BYTES``,
            such as ``20GB``; infinite by default).
        spool_reserve: the high-water mark: what is to stay free where the spool is
            (``CROSSDOCK_SPOOL_RESERVE``: bytes, such as ``5GB``, or a share such as ``10%``; the
            smaller of 5 % and 1 GB by default).
        spool_low_water: the low-water mark: below this such parcels are deleted before their time
            (``CROSSDOCK_SPOOL_LOW_WATER``, as above; the smaller of 10 % and 2 GB by default).
        receiver_workers: processes that receive side by side (``CROSSDOCK_RECEIVER_WORKERS``; as
            many as there are cores to use by default, but no more than 4).
        api_token: what API callers must present (``CROSSDOCK_API_TOKEN`` or
            ``CROSSDOCK_API_TOKEN_FILE``), None if unset.
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
    retention_bytes: float = math.inf
    spool_low_water: Reserve = _LOW_WATER

    @property
    def spool(self) -> Path:
        """The spool's directory, shared by receiver, router and dispatchers."""
        return self.data / "spool"

    def marks(self, total: int) -> Marks:
        """Return the marks of a spool on a file system of ``total`` bytes.

        The low-water mark is never so low that senders would go on being refused at it.
        """
        reserve = self.spool_reserve.of(total)
        return Marks(max(self.spool_low_water.of(total), int(reserve * RELIEF)), reserve)

    @property
    def run(self) -> Path:
        """Where each running process says its pid and HTTP address."""
        return self.data / "run"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        ValueError: ``CROSSDOCK_HTTP`` is no HOST:PORT; ``CROSSDOCK_LOG`` is no level;
            ``CROSSDOCK_RETENTION_HOURS`` is no number; ``CROSSDOCK_RETENTION_BYTES`` is no size;
            ``CROSSDOCK_SPOOL_RESERVE`` or ``CROSSDOCK_SPOOL_LOW_WATER`` is no reserve;
            ``CROSSDOCK_RECEIVER_WORKERS`` is no number from 1 to 64; the file that a variable
            names cannot be read.
    """
    data = Path(environment.get("CROSSDOCK_DATA") or DEFAULT_DATA).absolute()
    host, port = split_address(environment.get("CROSSDOCK_HTTP") or DEFAULT_HTTP)
    level = (environment.get("CROSSDOCK_LOG") or "info").lower()
    if level not in ("debug", "info", "warning", "error"):
        raise ValueError(f"CROSSDOCK_LOG={level!r}: use debug, info, warning or error")
    return Settings(
        data=data,
        broker=given(environment, "CROSSDOCK_BROKER") or f"filesystem://{data / 'broker'}",
        database=given(environment, "CROSSDOCK_DATABASE")
        or f"sqlite:///{data / 'crossdock.sqlite'}",
        http_host=host,
        http_port=port,
        log_level=level,
        retention_seconds=_hours(environment.get("CROSSDOCK_RETENTION_HOURS") or "24"),
        api_token=given(environment, API_TOKEN),
        spool_reserve=_reserve(environment, "CROSSDOCK_SPOOL_RESERVE", Reserve()),
        spool_low_water=_reserve(environment, "CROSSDOCK_SPOOL_LOW_WATER", _LOW_WATER),
        retention_bytes=_retention_bytes(environment.get("CROSSDOCK_RETENTION_BYTES") or ""),
        receiver_workers=_workers(environment.get("CROSSDOCK_RECEIVER_WORKERS") or ""),
    )


def given(environment: Mapping[str, str], name: str) -> str | None:
    """Return what a variable says, or the file that ``NAME_FILE`` names; None if neither is set.

    Raises:
        ValueError: the file cannot be read, or has nothing in it.
    """
    text, file = environment.get(name), environment.get(f"{name}_FILE")
    if text or not file:
        return text or None
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{name}_FILE={file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}_FILE={file}: is not text") from None
    if not text:
        raise ValueError(f"{name}_FILE={file}: is empty")
    return text


def _reserve(environment: Mapping[str, str], name: str, default: Reserve) -> Reserve:
    text = environment.get(name) or ""
    share = text.removesuffix("%").strip()
    if not text:
        return default
    if text.endswith("%") and share.isdecimal() and int(share) < 100:  # noqa: PLR2004 — per cent
        return Reserve(bytes=math.inf, share=int(share) / 100)
    size = _size(text)
    if size is None:
        raise ValueError(f"{name}={text!r}: use bytes, such as 5GB, or a share such as 5%")
    return Reserve(bytes=size, share=1.0)


def _retention_bytes(text: str) -> float:
    size = _size(text) if text else math.inf
    if size is None:
        raise ValueError(f"CROSSDOCK_RETENTION_BYTES={text!r}: use a size, such as 20GB")
    return size


def _size(text: str) -> int | None:
    """Return a size in bytes: ``500``, ``20GB``, ``1.5 TB``, ``4GiB``; None if it is none."""
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        return None
    number, prefix, binary = found.groups()
    power = "KMGT".index(prefix.upper()) + 1 if prefix else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


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
