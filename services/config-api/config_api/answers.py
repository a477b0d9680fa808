"""What the API answers with. Times are ISO 8601 in UTC."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, computed_field

from config_api.changes import Change
from crossdock.model import (
    CheckReport,
    DeliveryState,
    InstanceOutcome,
    ParcelState,
    Priority,
    trace_id,
)


def _moment(value: Any) -> Any:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else value


Moment = Annotated[datetime, BeforeValidator(_moment)]


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it; ``errors`` names the fields."""

    class FieldError(BaseModel):
        """One field and what is wrong with it."""

        field: str = Field(examples=["port"])
        message: str = Field(examples=["is missing"])

    type: str = Field("about:blank", description="Always about:blank: the title says it.")
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field("", examples=["The settings are not valid."])
    errors: list[FieldError] = []


Item = TypeVar("Item")


class Listing(BaseModel, Generic[Item]):
    """One page of a list. ``next`` is what ``before`` must be for the page after it, if any."""

    items: list[Item]
    next: str | None = None


class AttemptAnswer(BaseModel):
    """One try at a delivery; the numbers say where the delivery stood after it.

    ``kind`` is empty where nothing failed.
    """

    attempt: int
    started_at: Moment
    finished_at: Moment
    delivered: int
    warnings: int
    refused: int
    not_sent: int
    kind: str
    detail: str
    next_try: Moment | None = Field(description="When the next attempt was planned for, if any.")


class DeliverySummary(BaseModel):
    """One parcel for one target. ``reason`` says why it waits, is held or was discarded."""

    id: str
    state: DeliveryState
    parcel: str
    target: str
    protocol: str
    rules: list[str] = Field(description="The rules that chose the target.")
    priority: Priority = Field(description="How urgent it is: of its rules, the most urgent.")
    instead_of: str = Field(description="The target whose fallback this one is; empty if none.")
    revision: int = Field(description="The configuration that it was routed by.")
    store_node: str
    study_instance_uid: str
    series_instance_uid: str
    instances: int
    delivered: int = Field(description="Instances that the target took without a warning.")
    warnings: int = Field(description="Instances that the target took with a warning.")
    missing: int = Field(description="Instances that the target does not have.")
    reason: str
    attempts: int
    routed_at: Moment | None
    attempted_at: Moment | None
    finished_at: Moment | None
    next_try: Moment | None

    @computed_field(description="W3C trace id of the parcel and all its deliveries.")  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def trace_id(self) -> str:
        """The trace id of the delivery's parcel."""
        return trace_id(self.parcel)


class DeliveryAnswer(DeliverySummary):
    """A delivery with its history, newest attempt last, and every instance that is exceptional."""

    history: list[AttemptAnswer]
    exceptions: list[InstanceOutcome] = Field(
        description="Instances that the target does not have or took with a warning."
    )


class ParcelSummary(BaseModel):
    """The instances that arrived together. ``reason`` says why it is held or was discarded."""

    id: str
    state: ParcelState
    store_node: str
    calling_ae_title: str
    address: str
    study_instance_uid: str
    series_instance_uid: str
    split_from: str
    instances: int
    bytes: int
    reason: str
    received_at: Moment | None
    closed_at: Moment | None
    routed_at: Moment | None

    @computed_field(description="W3C trace id of the parcel and all its deliveries.")  # type: ignore[prop-decorator]  # as above
    @property
    def trace_id(self) -> str:
        """The parcel's trace id."""
        return trace_id(self.id)


class ParcelAnswer(ParcelSummary):
    """A parcel with its deliveries."""

    deliveries: list[DeliverySummary]


class CheckAnswer(BaseModel):
    """A staged connectivity report; ``green`` if something was checked and nothing failed."""

    target: str
    green: bool
    report: CheckReport
    at: Moment
    seconds: float = 0.0


class StandingAnswer(CheckAnswer):
    """The last check of a target; ``since`` is when it became green, or red."""

    since: Moment


class TargetStanding(BaseModel):
    """How a target stands: what a person decided, what its last check found, what waits for it."""

    target: str
    type: str
    state: Literal["enabled", "paused", "disabled", "draining"]
    reason: str = Field(description="Why it is paused.")
    green: bool | None = Field(description="What the last check found; null before the first.")
    since: Moment | None = Field(description="When it became green, or red.")
    checked_at: Moment | None
    waiting: int = Field(description="Deliveries that wait for it.")
    held: int = Field(description="Deliveries to it that need a person.")
    oldest_waiting: Moment | None = Field(description="Since when its oldest delivery waits.")


class WaitingAnswer(BaseModel):
    """What waits for a target, and why. ``kind`` and ``reason`` are empty where nothing failed."""

    target: str
    waiting: int = Field(description="Deliveries that wait or are being sent.")
    held: int = Field(description="Deliveries that need a person.")
    oldest_at: Moment | None = Field(description="Since when the oldest of those waits.")
    next_try: Moment | None = Field(
        description="When the first of those that failed is tried again; any other may go before."
    )
    failed_at: Moment | None = Field(description="When the last failure of those was.")
    kind: str = Field(description="What kind of failure that was.")
    reason: str = Field(description="What it was, in words.")


class Done(BaseModel):
    """A person's request was carried out."""

    detail: str


class ActionAnswer(BaseModel):
    """What a person had done to parcels or deliveries, or tried to."""

    number: int
    at: Moment
    actor: str
    action: str = Field(examples=["discard"])
    subject: str = Field(description="The parcel, the delivery, or the filter of many.")
    outcome: str = Field(description="The reason given, and what came of it.")


class RevisionSummary(BaseModel):
    """Who changed what in the configuration, and when."""

    revision: int
    at: Moment
    actor: str
    summary: str


class RevisionAnswer(RevisionSummary):
    """A revision with the whole configuration of then."""

    document: dict[str, Any]


class ChangeAnswer(BaseModel):
    """What a change did, or with ``dry_run`` would do."""

    revision: int = Field(description="The revision in force now.")
    dry_run: bool
    changes: list[Change]
    draining: dict[str, int] = Field(
        description="Targets that were to be removed and are kept for now, and how many unfinished "
        "deliveries each has."
    )


class ResealAnswer(BaseModel):
    """What sealing all secrets with the first key came to."""

    revision: int = Field(description="The revision in force now: a new one if it has secrets.")
    rewritten: int = Field(description="Earlier revisions whose secrets were sealed anew.")
    unopened: list[str] = Field(
        description="Objects in force with a secret that no key opens: give it anew."
    )


class RefusedDelivery(BaseModel):
    """A delivery with which it did not work, and why."""

    delivery: str
    reason: str


class BatchAnswer(BaseModel):
    """What became of the deliveries that a filter chose, as far as one request goes."""

    dry_run: bool
    matched: int = Field(
        description="Deliveries that were looked at; with `dry_run` all that the filter chooses."
    )
    done: int
    refused: list[RefusedDelivery] = Field(description="Those with which it did not work, if few.")
    next: str | None = Field(description="What `after` must be to go on; null where that was all.")
