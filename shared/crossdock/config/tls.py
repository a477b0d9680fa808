"""TLS of store nodes and targets. Paths are those of the machine that uses them, and checked there."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from crossdock.config.fields import Configured
from crossdock.dicom.tls import TlsFiles


def _absolute(value: str) -> str:
    if not value.startswith("/") or "\0" in value or len(value) > 1000:  # noqa: PLR2004 — bytes of a path
        raise ValueError("use an absolute path, such as /etc/crossdock/node.pem")
    return value


FilePath = Annotated[str, AfterValidator(_absolute)]
MinimumVersion = Annotated[
    Literal["1.2", "1.3"], Field(description="Oldest TLS version that is spoken.")
]


class NodeTls(Configured):
    """TLS of a store node (PS3.15 B.12)."""

    certificate: FilePath = Field(description="PEM file: the certificate, then its chain.")
    key: FilePath | None = Field(None, description="PEM file; left out if it is in certificate.")
    key_password_file: FilePath | None = Field(None, description="A file with the key's password.")
    ca: FilePath | None = Field(None, description="PEM file: the CAs that sign senders.")
    client_certificate: Literal["required", "optional", "none"] = Field(
        "required", description="Whether senders must show a certificate of `ca`."
    )
    minimum_version: MinimumVersion = "1.2"

    @model_validator(mode="after")
    def _can_judge_senders(self) -> "NodeTls":
        if self.client_certificate != "none" and self.ca is None:
            raise ValueError("name the ca that signs your senders, or say client_certificate: none")
        return self

    def files(self) -> TlsFiles:
        """Return what the data plane needs to know."""
        return TlsFiles(**self.model_dump())


class TargetTls(Configured):
    """TLS to a target. ``tls: {}`` trusts the CAs of the system and shows no certificate."""

    ca: FilePath | None = Field(
        None, description="PEM file: the CAs that may sign the peer; the system's if left out."
    )
    certificate: FilePath | None = Field(
        None, description="PEM file: our certificate, for peers that ask for one."
    )
    key: FilePath | None = Field(None, description="PEM file; left out if it is in certificate.")
    key_password_file: FilePath | None = Field(None, description="A file with the key's password.")
    check_hostname: bool = Field(
        True, description="Whether the peer's certificate must be for the host of the target."
    )
    minimum_version: MinimumVersion = "1.2"

    @model_validator(mode="after")
    def _key_has_a_certificate(self) -> "TargetTls":
        if self.certificate is None and (self.key or self.key_password_file):
            raise ValueError("a key needs its certificate")
        return self

    def files(self) -> TlsFiles:
        """Return what the data plane needs to know."""
        return TlsFiles(**self.model_dump())
