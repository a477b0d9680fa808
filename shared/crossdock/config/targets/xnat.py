"""Settings of XNAT targets."""

from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, model_validator

from crossdock.config.fields import Seconds
from crossdock.config.labels import check_label
from crossdock.config.naming import keywords_of
from crossdock.config.secret import Secret
from crossdock.config.targets.base import TargetBase
from crossdock.config.targets.urls import split_http_url
from crossdock.config.tls import TargetTls


_PORTS = {"http": 80, "https": 443}


def _url(value: str) -> str:
    return split_http_url(value, "https://xnat.example").geturl().rstrip("/")


Label = Annotated[str, Field(max_length=500), AfterValidator(check_label)]


class XnatTarget(TargetBase):
    """A project of an XNAT server."""

    type: Literal["xnat"]
    url: Annotated[str, Field(max_length=1000), AfterValidator(_url)] = Field(
        description="Base URL of the server, such as https://xnat.example."
    )
    user: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^:\x00-\x1f\x7f]*$")] = (
        Field(description="Name of the account, or the alias of an alias token.")
    )
    password: Secret = Field(description="Its password, or the secret of the alias token.")
    project: Label = Field(
        description="ID of the project, which must exist; DICOM keywords in braces are filled in."
    )
    subject: Label = Field(
        "{PatientID}", description="Label of the subject, from DICOM keywords in braces."
    )
    session: Label = Field(
        "{PatientID}_{StudyDate}_{StudyInstanceUID}",
        description="Label of the session; it should tell two studies of one day apart.",
    )
    destination: Literal["prearchive", "archive"] = Field(
        "prearchive", description="Where a delivery ends: for people to look at, or archived."
    )
    commit: bool = Field(
        True,
        description="Have the session built, and archived, when a delivery is complete. If not, "
        "XNAT does so by itself once nothing has come for some minutes.",
    )
    overwrite: Literal["none", "append", "delete"] = Field(
        "append",
        description="What to do with a session that is archived already: refuse, add to it and "
        "replace instances that it has, or replace all of it, series of earlier deliveries too.",
    )
    import_handler: Literal["gradual-DICOM", "DICOM-zip"] = Field(
        "gradual-DICOM",
        description="One instance per request, or many in a zip file, of which XNAT does not say "
        "which ones its series import filter left out.",
    )
    transfers: Annotated[int, Field(ge=1, le=16)] = Field(
        4, description="Requests side by side per delivery."
    )
    batch_instances: Annotated[int, Field(ge=1, le=1000)] = Field(
        100, description="Most instances in a zip file."
    )
    batch_bytes: Annotated[int, Field(ge=1, le=2**30)] = Field(
        100_000_000,
        description="Most bytes in a zip file; a larger instance gets a request of its own.",
    )
    tls: TargetTls | None = Field(
        None, description="Own CA, own certificate; the system's CAs if left out."
    )
    connect_timeout: Seconds = Field(10.0, description="Seconds to wait for the connection.")
    timeout: Seconds = Field(
        120.0, description="Seconds to wait for each answer of the server, or for any progress."
    )

    @property
    def address(self) -> SplitResult:
        """The base URL in its parts."""
        return urlsplit(self.url)

    @property
    def place(self) -> tuple[str, int]:
        """The host and port of the server."""
        address = self.address
        return address.hostname or "", address.port or _PORTS[address.scheme]

    @property
    def secure(self) -> bool:
        """Whether the server is spoken to by TLS."""
        return self.address.scheme == "https"

    @property
    def fixed_project(self) -> bool:
        """Whether all instances are for the same project."""
        return not keywords_of(self.project)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tls is not None and not self.secure:
            raise ValueError("tls needs an https url")
        archives = self.destination == "archive" and self.commit
        if self.overwrite != "append" and not archives:
            raise ValueError(
                "overwrite is about archiving: it needs destination archive and commit"
            )
        return self
