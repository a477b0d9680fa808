"""The connection to SQLite or PostgreSQL: transactions, migrations, and whether it can be used."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from crossdock.errors import CrossdockError


log = structlog.get_logger(__name__)

_LOCK = 0x0C05D0C  # any number that all processes agree on
_AGAIN_SECONDS = 2.0
_POSTGRES: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=15000 -c lock_timeout=5000",
}
_DOWN = (OperationalError, InterfaceError, InternalError, PoolTimeout)


class DatabaseUnavailable(CrossdockError):  # noqa: N818 — reads as what happened
    """The database cannot be used right now; nothing was changed. The text is fit for people."""


class Database:
    """The database behind a URL.

    It can be made while the server is away: until the tables are ready, every transaction raises
    ``DatabaseUnavailable``. Safe to use from any thread.
    """

    def __init__(self, url: str) -> None:
        address = _address(url)
        self.dialect = address.get_backend_name()
        self._engine = _sqlite(address) if self.dialect == "sqlite" else _postgres(address)
        self._writing = self._engine.execution_options(writes=True)
        self._unready: str | None = "the database is being prepared"
        self._stopping = threading.Event()
        self._tried = threading.Event()
        self._thread = threading.Thread(target=self._prepare_until_done, name="database")

    def start(self, patience: float = 0.0) -> None:
        """Prepare the tables, in a thread that tries until it succeeds.

        Returns after the first try, or after ``patience`` seconds.
        """
        self._thread.start()
        self._tried.wait(patience)

    def prepare(self) -> None:
        """Bring the tables up to date. Several processes may do so at once; one works, all wait.

        Raises:
            DatabaseUnavailable: it did not work; trying again may help.
        """
        try:
            with self._writing.begin() as connection:
                _migrate(connection)
        except CommandError:
            self._unready = "the database was written by a newer version of Crossdock"
        except _DOWN as error:
            self._unready = _words(error)
        else:
            self._unready = None
        if self._unready:
            raise DatabaseUnavailable(self._unready)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session that sees one state of the database.

        Raises:
            DatabaseUnavailable: the database cannot be used.
        """
        with self._session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session whose changes are durable when the block ends, or undone if it raises.

        Raises:
            DatabaseUnavailable: the database cannot be used.
        """
        with self._session(self._writing) as session:
            yield session
            with _translated():
                session.commit()

    def problem(self) -> str | None:
        """Return why the database cannot be used, None if it can."""
        try:
            with self.reading() as session:
                session.execute(text("SELECT 1"))
        except DatabaseUnavailable as error:
            return str(error)
        return None

    def close(self) -> None:
        """Close all connections."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._engine.dispose()

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        if self._unready:
            raise DatabaseUnavailable(self._unready)
        with _translated(), Session(engine, expire_on_commit=False) as session:
            yield session

    def _prepare_until_done(self) -> None:
        while not self._stopping.is_set():
            try:
                self.prepare()
            except DatabaseUnavailable as error:
                log.warning("database.unavailable", reason=str(error))
                self._stopping.wait(_AGAIN_SECONDS)
            else:
                log.info("database.ready", dialect=self.dialect)
                return
            finally:
                self._tried.set()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _DOWN as error:
        raise DatabaseUnavailable(_words(error)) from error


def _words(error: Exception) -> str:
    """Say what is wrong without the driver's text, which may quote values or addresses."""
    if isinstance(error, PoolTimeout):
        return "the database is too slow: every connection is busy"
    driver = getattr(error, "orig", None)
    return f"the database cannot be used ({type(driver or error).__name__})"


def _address(url: str) -> URL:
    """Return the URL with the driver that we install; ``postgres://`` is PostgreSQL too."""
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgres", "postgresql"):
        scheme = "postgresql+psycopg"
    return make_url(f"{scheme}{separator}{rest}")


def _postgres(address: URL) -> Engine:
    return create_engine(
        address, pool_pre_ping=True, pool_timeout=5, pool_size=10, connect_args=_POSTGRES
    )


def _sqlite(address: URL) -> Engine:
    if address.database:
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, pool_timeout=5, pool_size=10, connect_args={"timeout": 5})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """Make SQLite durable and strict. It starts transactions where we say, not where it guesses."""
    connection.isolation_level = None
    for pragma in (
        "busy_timeout=5000",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at the start: one taken in the middle fails instead of waiting."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    config = Config()
    scripts = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", scripts.replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
