"""What SQLite and PostgreSQL need to be told in their own ways."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session


_INSERT: dict[str, Callable[..., Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def insert_once(session: Session, table: type[Any], **values: Any) -> None:
    """Insert a row, unless there is one of its key."""
    insert = _INSERT[session.get_bind().dialect.name](table)
    session.execute(insert.values(**values).on_conflict_do_nothing())


def storable(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a peer's words without NUL, which PostgreSQL's JSON functions choke on."""
    return [
        {key: v.replace("\0", "\ufffd") if isinstance(v, str) else v for key, v in item.items()}
        for item in items
    ]
