"""What a receiver and its workers say to each other."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from crossdock.dicom.storage_scp import Caller, Rejection
from crossdock.messages import ParcelReceived
from crossdock.model import Frozen


class Configure(Frozen):
    """To a worker: serve by this revision. With it comes a file of the store nodes, as JSON."""

    kind: Literal["configure"] = "configure"
    revision: int


class Serve(Frozen):
    """To a worker: serve this connection to a store node. With it comes the connection."""

    kind: Literal["serve"] = "serve"
    store_node: str
    address: tuple[str, int]


class Admitted(Frozen):
    """To a worker: whether an association may be accepted."""

    kind: Literal["admitted"] = "admitted"
    association: str
    rejection: Rejection | None


class Stop(Frozen):
    """To a worker: take ``grace`` seconds to finish what is in work, and end."""

    kind: Literal["stop"] = "stop"
    grace: float


class Configured(Frozen):
    """From a worker: from now on it serves by this revision."""

    kind: Literal["configured"] = "configured"
    revision: int


class Admit(Frozen):
    """From a worker: may this caller send to this store node?"""

    kind: Literal["admit"] = "admit"
    store_node: str
    caller: Caller


class Ended(Frozen):
    """From a worker: an association is over."""

    kind: Literal["ended"] = "ended"
    association: str


class Closed(Frozen):
    """From a worker: a connection is over."""

    kind: Literal["closed"] = "closed"


class Parcel(Frozen):
    """From a worker: a parcel is closed and safe; tell the router."""

    kind: Literal["parcel"] = "parcel"
    received: ParcelReceived


ToWorker = Configure | Serve | Admitted | Stop
FromWorker = Configured | Admit | Ended | Closed | Parcel
Words = ToWorker | FromWorker

WORDS: TypeAdapter[Words] = TypeAdapter(Annotated[Words, Field(discriminator="kind")])
