"""Targets: the configured places to send to. One settings model per protocol, told by ``type``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from crossdock.config.fields import AETitle, Configured, Host, Name, Port, Seconds, Text
from crossdock.config.naming import check_template
from crossdock.config.tls import TargetTls


class TargetBase(Configured):
    """What every target has, whatever its protocol."""

    name: Name
    enabled: bool = Field(True, description="A disabled target keeps its deliveries waiting.")
    concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Deliveries to this target at the same time, per dispatcher."
    )
    contact: Text = Field("", description="Whom to ask about this target.")
    description: Text = ""


class FolderTarget(TargetBase):
    """A directory, local or mounted."""

    type: Literal["folder"]
    path: Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        description="Absolute path of the directory, as the dispatcher sees it."
    )
    naming: Text = Field(
        "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
        description="Path of each file below the directory, from DICOM keywords in braces.",
    )
    complete_marker: bool = Field(
        True, description="Write an empty `.complete` beside the files when all are there."
    )
    file_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = Field(
        "640", description="Permissions of the files, in octal."
    )
    directory_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3,4}$")] = Field(
        "750", description="Permissions of directories that are made, in octal."
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith("/") or "\0" in value:
            raise ValueError("use an absolute path, such as /data/research")
        return value

    @field_validator("naming")
    @classmethod
    def _known_keywords(cls, value: str) -> str:
        check_template(value)
        return value


class DicomTarget(TargetBase):
    """A DICOM storage SCP."""

    type: Literal["dicom"]
    host: Host = Field(description="Host name, IPv4 or IPv6 address.")
    port: Port
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
    connect_timeout: Seconds = Field(10.0, description="Seconds to wait for the connection.")
    timeout: Seconds = Field(60.0, description="Seconds to wait for each answer of the peer.")
    tls: TargetTls | None = Field(None, description="TLS; plain TCP if left out.")
    convert_refused: bool = Field(
        True,
        description="Send an instance uncompressed where the peer refuses its transfer syntax.",
    )


Target = Annotated[FolderTarget | DicomTarget, Field(discriminator="type")]
