"""The tables: the configuration's revisions, the ledger of parcels, deliveries and attempts, checks.

Times are Unix times in seconds. The ledger's rows hold what events said, plus ``state``, which is
worked out from that. Nothing in them identifies a patient beyond the UIDs of study and series.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, Double, ForeignKey, Index, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Words(TypeDecorator[str]):
    """Text that may have come from the network: cut to its length, and without what SQL refuses.

    PostgreSQL takes no NUL, and no encoding takes a lone surrogate.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text in the form in which it is stored and looked for."""
        del dialect
        if value is None:
            return None
        clean = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        return clean[: self._length]


class Base(DeclarativeBase):
    """Base of all tables."""


class RevisionRow(Base):
    """One state of the whole configuration; the highest number is in force."""

    __tablename__ = "revisions"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float] = mapped_column(Double)
    actor: Mapped[str] = mapped_column(Words(64))
    summary: Mapped[str] = mapped_column(Words(2000))
    document: Mapped[dict[str, Any]] = mapped_column(JSON)


class ParcelRow(Base):
    """One parcel, and the newest of each thing that happened to it."""

    __tablename__ = "parcels"
    __table_args__ = (Index("parcels_by_state", "state", "id"),)

    id: Mapped[str] = mapped_column(Words(200), primary_key=True)
    state: Mapped[str] = mapped_column(Words(16))
    store_node: Mapped[str] = mapped_column(Words(64), default="", index=True)
    calling_ae_title: Mapped[str] = mapped_column(Words(64), default="")
    address: Mapped[str] = mapped_column(Words(64), default="")
    study_instance_uid: Mapped[str] = mapped_column(Words(128), default="", index=True)
    series_instance_uid: Mapped[str] = mapped_column(Words(128), default="")
    split_from: Mapped[str] = mapped_column(Words(200), default="")
    instances: Mapped[int] = mapped_column(default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    received_at: Mapped[float | None] = mapped_column(Double)
    closed_at: Mapped[float | None] = mapped_column(Double)
    routed_at: Mapped[float | None] = mapped_column(Double)
    held_at: Mapped[float | None] = mapped_column(Double)
    held_reason: Mapped[str] = mapped_column(Words(2000), default="")
    discarded_at: Mapped[float | None] = mapped_column(Double)
    discard_reason: Mapped[str] = mapped_column(Words(2000), default="")


class DeliveryRow(Base):
    """One parcel for one target: how it was routed, its newest attempt, and how it ended.

    An event may arrive before the one that came before it, so only ``parcel`` and ``target``, which
    the identifier tells, are known from the start. ``again_at`` is the newest run that a person
    began, ``finished_again_at`` the run that the end belongs to; the first run has none.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("deliveries_by_state", "state", "id"),
        Index("deliveries_by_target", "target", "state", "routed_at"),
    )

    id: Mapped[str] = mapped_column(Words(300), primary_key=True)
    state: Mapped[str] = mapped_column(Words(16))
    parcel: Mapped[str] = mapped_column(Words(200), index=True)
    target: Mapped[str] = mapped_column(Words(64))
    protocol: Mapped[str] = mapped_column(Words(32), default="")
    rules: Mapped[list[str]] = mapped_column(JSON, default=list)
    priority: Mapped[str] = mapped_column(Words(16), default="normal", server_default="normal")
    instead_of: Mapped[str] = mapped_column(Words(64), default="", server_default="")
    instances: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=0)
    routed_at: Mapped[float | None] = mapped_column(Double)
    attempted_at: Mapped[float | None] = mapped_column(Double)
    again_at: Mapped[float | None] = mapped_column(Double)
    finished_again_at: Mapped[float | None] = mapped_column(Double)
    finished_state: Mapped[str] = mapped_column(Words(16), default="")
    finished_at: Mapped[float | None] = mapped_column(Double, index=True)
    delivered: Mapped[int] = mapped_column(default=0)
    warnings: Mapped[int] = mapped_column(default=0)
    missing: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str] = mapped_column(Words(2000), default="")


class ActionRow(Base):
    """One thing that a person had done to parcels or deliveries, or tried to."""

    __tablename__ = "actions"

    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(Double)
    actor: Mapped[str] = mapped_column(Words(64))
    action: Mapped[str] = mapped_column(Words(32))
    subject: Mapped[str] = mapped_column(Words(300))
    outcome: Mapped[str] = mapped_column(Words(2000))


class AttemptRow(Base):
    """One try at a delivery, and the instances that it could not deliver or that got a warning."""

    __tablename__ = "attempts"

    delivery: Mapped[str] = mapped_column(
        Words(300), ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    started_at: Mapped[float] = mapped_column(Double, primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    finished_at: Mapped[float] = mapped_column(Double)
    delivered: Mapped[int]
    warnings: Mapped[int]
    refused: Mapped[int]
    not_sent: Mapped[int]
    kind: Mapped[str] = mapped_column(Words(32))
    detail: Mapped[str] = mapped_column(Words(2000))
    next_try: Mapped[float | None] = mapped_column(Double)
    failures: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    warned: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class CheckRow(Base):
    """One check of a target; of each target only the newest are kept."""

    __tablename__ = "checks"

    target: Mapped[str] = mapped_column(Words(64), primary_key=True)
    at: Mapped[float] = mapped_column(Double, primary_key=True)
    green: Mapped[bool]
    seconds: Mapped[float] = mapped_column(Double)
    stages: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class StandingRow(Base):
    """How a target stands by its newest check, and since when."""

    __tablename__ = "standings"

    target: Mapped[str] = mapped_column(Words(64), primary_key=True)
    green: Mapped[bool]
    since: Mapped[float] = mapped_column(Double)
    at: Mapped[float] = mapped_column(Double)
    reason: Mapped[str] = mapped_column(Words(2000), default="")
