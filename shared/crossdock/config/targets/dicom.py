"""Settings of DICOM targets."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from crossdock.config.fields import AETitle
from crossdock.config.targets.base import RemoteTarget
from crossdock.config.tls import TargetTls


class DicomTarget(RemoteTarget):
    """A DICOM storage SCP."""

    can_query: ClassVar[bool] = True

    type: Literal["dicom"]
    called_ae_title: AETitle = Field(description="AE title of the peer.")
    calling_ae_title: AETitle = Field("CROSSDOCK", description="AE title that we call with.")
    max_pdu: Annotated[int, Field(ge=4096, le=1_048_576)] = Field(
        131_072, description="Largest PDU that we offer to receive, in bytes."
    )
    associations: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="Associations side by side per delivery, no more than the peer admits."
    )
    window: Annotated[int, Field(ge=1, le=64)] = Field(
        16, description="Instances under way at once in an association, if the peer grants that."
    )
    tls: TargetTls | None = Field(None, description="TLS; plain TCP if left out.")
    convert_refused: bool = Field(
        True,
        description="Send an instance uncompressed where the peer refuses its transfer syntax.",
    )
