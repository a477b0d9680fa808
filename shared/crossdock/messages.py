"""Every message on the bus, in flow order.

Facts are named in the past tense, requests end in ``.requested``. Messages carry references and
outcomes, never pixels; nothing in a queue name or header comes from a patient. Readers ignore
fields that they do not know, so a new field needs no new version.

::

    parcel.received → parcel.routed / parcel.held
                    → delivery.routed → delivery.attempted → delivery.finished
    delivery.retry.requested, delivery.discard.requested, delivery.move.requested,
    parcel.route.requested, parcel.discard.requested, parcel.send.requested → request.finished
    batch.requested → batch.finished
    check.requested → check.finished → target.changed
    config.requested → config.published;  config.changed to all
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from crossdock.errors import MessageError
from crossdock.model import CheckReport, DeliveryState, Frozen, InstanceOutcome, Priority


class Message(Frozen):
    """Base of all messages; ``type`` and ``version`` select the model on reading."""

    version: int = 1
    type: str

    def encode(self) -> bytes:
        """Return the message as UTF-8 JSON."""
        return self.model_dump_json().encode()


class ParcelReceived(Message):
    """A parcel is closed and safe in the spool; the router may look at it."""

    type: Literal["parcel.received"] = "parcel.received"
    parcel: str
    store_node: str
    calling_ae_title: str
    address: str
    study_instance_uid: str
    series_instance_uid: str
    instances: int
    bytes: int
    received_at: float
    closed_at: float


class ParcelRouted(Message):
    """The rules were evaluated; ``targets`` get the parcel or a part of it."""

    type: Literal["parcel.routed"] = "parcel.routed"
    parcel: str
    targets: tuple[str, ...]
    revision: int
    at: float


class ParcelHeld(Message):
    """A parcel waits for a person, because no rule wanted it; ``reason`` says so in words."""

    type: Literal["parcel.held"] = "parcel.held"
    parcel: str
    reason: str
    at: float
    split_from: str = ""
    """The parcel whose unwanted instances these are, where only a part of it was wanted."""
    instances: int = 0
    bytes: int = 0
    store_node: str = ""
    calling_ae_title: str = ""
    address: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    received_at: float = 0.0
    closed_at: float = 0.0


class ParcelDiscarded(Message):
    """A person discarded a held parcel; ``gone`` says that it was not in the spool any more."""

    type: Literal["parcel.discarded"] = "parcel.discarded"
    parcel: str
    reason: str
    at: float
    gone: bool = False


class DeliveryRouted(Message):
    """One parcel is to go to one target; the schedule of what a pending marker promises.

    ``instead_of`` is the target whose fallback this one is, if it got the delivery as that.
    ``again_at`` is when a person had it sent anew that was held or final before; 0 where nobody
    did. It tells the runs of a delivery apart: an end belongs to the run of the same ``again_at``.
    """

    type: Literal["delivery.routed"] = "delivery.routed"
    delivery: str
    parcel: str
    target: str
    protocol: str
    rules: tuple[str, ...]
    instances: int
    revision: int
    at: float
    priority: Priority = Priority.NORMAL
    instead_of: str = ""
    again_at: float = 0.0


class DeliveryAttempted(Message):
    """One try is over. The numbers say where the delivery stands after it, all tries together.

    ``failures`` lists the instances that were offered and that the target does not have,
    ``warned`` those that it has with a remark: the peer's warning, or that they were converted.
    ``next_try`` is a Unix time, None where no further attempt is planned.
    """

    type: Literal["delivery.attempted"] = "delivery.attempted"
    delivery: str
    attempt: int
    started_at: float
    finished_at: float
    delivered: int
    warnings: int
    refused: int
    not_sent: int
    kind: str = ""
    detail: str = ""
    next_try: float | None = None
    failures: tuple[InstanceOutcome, ...] = ()
    warned: tuple[InstanceOutcome, ...] = ()


class DeliveryFinished(Message):
    """A delivery is final, or held until a person decides.

    ``reason`` says why it is held or was discarded, ``remark`` what came of the target's script.
    ``again_at`` is that of the ``delivery.routed`` that it ends. ``gone`` says that a person gave up
    what nobody knows of but the ledger: an end that the ledger has, or hears of later, holds.
    """

    type: Literal["delivery.finished"] = "delivery.finished"
    delivery: str
    state: DeliveryState
    delivered: int
    warnings: int
    missing: int
    reason: str = ""
    remark: str = ""
    at: float
    again_at: float = 0.0
    gone: bool = False


class DeliveryRetryRequested(Message):
    """A person wants a held or waiting delivery tried now."""

    type: Literal["delivery.retry.requested"] = "delivery.retry.requested"
    delivery: str


class DeliveryDiscardRequested(Message):
    """A person gives a held or waiting delivery up, for a reason."""

    type: Literal["delivery.discard.requested"] = "delivery.discard.requested"
    delivery: str
    reason: str


class DeliveryMoveRequested(Message):
    """A person wants what a held or waiting delivery still misses sent to another target instead.

    ``protocol`` is that of the other target, by ``revision`` of the configuration.
    """

    type: Literal["delivery.move.requested"] = "delivery.move.requested"
    delivery: str
    target: str
    protocol: str
    revision: int


class ParcelRouteRequested(Message):
    """A person wants a held parcel routed again, by the rules of now."""

    type: Literal["parcel.route.requested"] = "parcel.route.requested"
    parcel: str


class ParcelDiscardRequested(Message):
    """A person gives a held parcel up, for a reason."""

    type: Literal["parcel.discard.requested"] = "parcel.discard.requested"
    parcel: str
    reason: str


class ParcelSendRequested(Message):
    """A person wants a parcel sent to a target, again where it was sent there before.

    ``protocol`` is that of the target, by ``revision`` of the configuration; ``instances`` are
    numbers of the parcel, None means all.
    """

    type: Literal["parcel.send.requested"] = "parcel.send.requested"
    parcel: str
    target: str
    protocol: str
    revision: int
    instances: tuple[int, ...] | None = None


class RequestFinished(Message):
    """The answer to a person's request: done, or the reason why not.

    ``gone`` says that it was about a delivery of which nothing is unfinished in the spool.
    """

    type: Literal["request.finished"] = "request.finished"
    done: bool
    detail: str = ""
    gone: bool = False


class BatchRequested(Message):
    """A person's requests on many deliveries, to be met in their order."""

    type: Literal["batch.requested"] = "batch.requested"
    requests: tuple[
        Annotated[
            DeliveryRetryRequested | DeliveryDiscardRequested | DeliveryMoveRequested,
            Field(discriminator="type"),
        ],
        ...,
    ]


class BatchFinished(Message):
    """The answers to the first requests of a batch; for the others there was no time."""

    type: Literal["batch.finished"] = "batch.finished"
    answers: tuple[RequestFinished, ...]


class CheckRequested(Message):
    """Check a target: ``target`` is its settings as JSON.

    The result is told to all if they are ``saved``, and only to the asker if not.
    """

    type: Literal["check.requested"] = "check.requested"
    target: dict[str, Any]
    saved: bool = False


class CheckFinished(Message):
    """The staged connectivity report on a target.

    ``settings`` is the fingerprint of the settings that were checked. ``at`` is when it was over.
    """

    type: Literal["check.finished"] = "check.finished"
    target: str
    report: CheckReport
    at: float
    protocol: str = ""
    settings: str = ""
    seconds: float = 0.0


class TargetChanged(Message):
    """A target can be used from now on, or cannot any more; ``reason`` says why not.

    A tester that has just begun does not know what was before, so it may say again what is known.
    """

    type: Literal["target.changed"] = "target.changed"
    target: str
    green: bool
    reason: str = ""
    at: float


class ConfigRequested(Message):
    """A service asks for the configuration; it already has ``revision``, written at ``made_at``.

    Numbers begin anew in a new database, and go on elsewhere in one that was restored: only both
    together name a revision. ``made_at`` is 0 where it is not known.
    """

    type: Literal["config.requested"] = "config.requested"
    service: str
    revision: int = 0
    made_at: float = 0.0


class ConfigPublished(Message):
    """The configuration; ``document`` is None where the asker has this revision already."""

    type: Literal["config.published"] = "config.published"
    revision: int
    made_at: float = 0.0
    document: dict[str, Any] | None = None


class ConfigChanged(Message):
    """Revision ``revision`` is in force; whoever holds an older one asks for it."""

    type: Literal["config.changed"] = "config.changed"
    revision: int


AnyMessage = Annotated[
    ParcelReceived
    | ParcelRouted
    | ParcelHeld
    | ParcelDiscarded
    | DeliveryRouted
    | DeliveryAttempted
    | DeliveryFinished
    | DeliveryRetryRequested
    | DeliveryDiscardRequested
    | DeliveryMoveRequested
    | ParcelRouteRequested
    | ParcelDiscardRequested
    | ParcelSendRequested
    | RequestFinished
    | BatchRequested
    | BatchFinished
    | CheckRequested
    | CheckFinished
    | TargetChanged
    | ConfigRequested
    | ConfigPublished
    | ConfigChanged,
    Field(discriminator="type"),
]

_ADAPTER: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def decode(body: bytes) -> Message:
    """Return the message in ``body``.

    Raises:
        MessageError: it is too large, not JSON, of an unknown type, or has wrong fields.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageError(f"a message of {len(body)} bytes; the limit is {MAX_MESSAGE_BYTES}")
    try:
        return _ADAPTER.validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)[:3]
        summary = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)
        raise MessageError(f"not a message: {summary}") from None
