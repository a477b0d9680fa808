"""What one target has confirmed: which bytes under which SOP Instance UID, in which parcel.

A small SQLite file in the spool, for each target that wants it, shared by all dispatchers. It may be
lost or deleted at any time: what it does not know is sent.

That an instance goes out is written down, durably, before it does, and that it was confirmed after.
So bytes count as delivered only if nothing else can have reached the target under their UID, also
when a dispatcher dies or two work side by side. A UID under which different bytes went out is sent
always, until it is forgotten.
"""

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog


log = structlog.get_logger(__name__)

KEPT_SECONDS = 90 * 86400.0
"""How long a confirmation is remembered."""

MOST = 1_000_000
"""How many instances of a target are remembered, the newest of them; about 150 MB."""

SEVERAL = b""
"""Stands for the bytes of a UID under which different ones went out."""

_BUSY_SECONDS = 10.0
_TABLES = """
CREATE TABLE IF NOT EXISTS place (settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS instances (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL,
    parcel TEXT NOT NULL,
    confirmed INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS instances_by_time ON instances (at);
"""


@dataclass(frozen=True, slots=True)
class Before:
    """What was confirmed under a UID before: in which ``parcel``, and whether the same bytes."""

    parcel: str
    same: bool


class Delivered:
    """The index at ``path``. ``settings`` say where its target puts what; others are another place."""

    def __init__(self, path: Path, settings: str) -> None:
        self._path = path
        self._settings = settings

    def offer(self, digests: Mapping[str, bytes], parcel: str, now: float) -> dict[str, Before]:
        """Return what is known of instances, and write down that the others are sent now.

        Raises:
            OSError: the index cannot be used now; nothing may be sent.
        """
        with self._transaction() as connection:
            _forget_old(connection, now)
            found = {
                uid: _offered(connection, uid, digest, parcel, now)
                for uid, digest in digests.items()
            }
        return {uid: before for uid, before in found.items() if before is not None}

    def confirm(self, digests: Mapping[str, bytes], parcel: str, now: float) -> None:
        """Write down that instances were confirmed.

        Raises:
            OSError: it is not written down, and they are sent again when they come again.
        """
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE instances SET confirmed = 1, parcel = ?, at = ?"
                " WHERE uid = ? AND digest IN (?, ?)",
                [(parcel, now, uid, digest, SEVERAL) for uid, digest in digests.items()],
            )

    def forget(self) -> None:
        """Forget everything."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Have the index for oneself; one that is damaged is forgotten, and made anew next time."""
        try:
            with closing(self._connected()) as connection, connection:
                yield connection
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.OperationalError):
                log.error("delivered.forgotten", index=self._path.name, reason=str(error))
                self.forget()
            raise OSError(errno.EIO, f"what was delivered cannot be looked up: {error}") from error

    def _connected(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o750, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
        try:
            # No write-ahead log: that works on one machine only.
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_TABLES)
            connection.execute("BEGIN IMMEDIATE")
            self._settle(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _settle(self, connection: sqlite3.Connection) -> None:
        """Forget what was delivered to another place."""
        known = connection.execute("SELECT settings FROM place").fetchone()
        if known != (self._settings,):
            connection.execute("DELETE FROM instances")
            connection.execute("DELETE FROM place")
            connection.execute("INSERT INTO place VALUES (?)", (self._settings,))


def _forget_old(connection: sqlite3.Connection, now: float) -> None:
    connection.execute("DELETE FROM instances WHERE at < ?", (now - KEPT_SECONDS,))
    connection.execute(
        "DELETE FROM instances WHERE number <= (SELECT max(number) FROM instances) - ?", (MOST,)
    )


def _offered(
    connection: sqlite3.Connection, uid: str, digest: bytes, parcel: str, now: float
) -> Before | None:
    query = "SELECT digest, parcel, confirmed FROM instances WHERE uid = ?"
    row = connection.execute(query, (uid,)).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO instances (uid, digest, parcel, confirmed, at) VALUES (?, ?, ?, 0, ?)",
            (uid, digest, parcel, now),
        )
        return None
    known, before, confirmed = row
    same = known == digest != SEVERAL
    if not same:
        connection.execute("UPDATE instances SET digest = ? WHERE uid = ?", (SEVERAL, uid))
    return Before(before, same) if confirmed else None
