"""Settings of S3 targets."""

import re
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from crossdock.config.fields import Seconds
from crossdock.config.secret import Secret
from crossdock.config.targets.base import FileTarget
from crossdock.config.tls import FilePath


_MOST_TAGS = 10  # what S3 allows
_MOST_METADATA = 2000  # bytes, of S3's 2 KB for all of it
_TAG = re.compile(r"[\w +\-=.:/@]{0,256}")
_METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,100}")
_METADATA_VALUE = re.compile(r"[!-~]([ -~]{0,254}[!-~])?")


def _endpoint(value: str) -> str:
    """Check the address of a store: scheme, host, port and perhaps a path."""
    url = _split(value)
    if url is None or url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("use a URL such as https://s3.example.org or http://10.0.0.5:9000")
    if url.username is not None or url.password is not None:
        raise ValueError("the URL is no place for credentials: use access_key and secret_key")
    if url.query or url.fragment or not re.fullmatch(r"[!-~]{1,500}", value):
        raise ValueError("a URL of scheme, host, port and path only, in ASCII")
    return value.rstrip("/")


def _split(value: str) -> SplitResult | None:
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        return None
    return url


def _prefix(value: str) -> str:
    parts = value.strip("/").split("/")
    if value and any(part in ("", ".", "..") for part in parts):
        raise ValueError("use a prefix without empty, '.' or '..' parts")
    if not value.isprintable():
        raise ValueError("use printable characters")
    return "/".join(parts)


class S3Target(FileTarget):
    """A bucket of AWS, or of any other store that speaks S3."""

    type: Literal["s3"]
    endpoint: Annotated[str, AfterValidator(_endpoint)] | None = Field(
        None, description="URL of the store; AWS in `region` if left out."
    )
    region: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = Field(
        "us-east-1", description="Region of the bucket; stores other than AWS often have just one."
    )
    bucket: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")] = (
        Field(description="Name of the bucket, which must exist.")
    )
    prefix: Annotated[str, StringConstraints(max_length=500), AfterValidator(_prefix)] = Field(
        "", description="What all keys begin with, such as `incoming/ct`."
    )
    path_style: bool | None = Field(
        None,
        description="Whether the bucket is in the path of URLs or in their host name; if left "
        "out, in the path where there is an endpoint or the bucket's name has dots.",
    )
    ca: FilePath | None = Field(
        None, description="PEM file: the CAs that may sign the store; the system's if left out."
    )
    access_key: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")] | None = Field(
        None,
        description="ID of the access key; if left out, credentials are those of the dispatcher's "
        "environment: variables, AWS profile, role of the machine.",
    )
    secret_key: Secret | None = Field(None, description="The secret of the access key.")
    encryption: Literal["AES256", "aws:kms"] | None = Field(
        None, description="Encryption at rest to ask for; what the bucket does if left out."
    )
    kms_key: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,2048}$")] | None = Field(
        None, description="Key for aws:kms: ID, alias or ARN; the store's own if left out."
    )
    storage_class: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")] | None = (
        Field(None, description="Storage class, such as STANDARD_IA; the bucket's if left out.")
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="Tags of every object, the same for all: at most ten."
    )
    metadata: dict[str, str] = Field(
        default_factory=dict, description="Metadata of every object, the same for all."
    )
    transfers: Annotated[int, Field(ge=1, le=16)] = Field(
        4, description="Uploads side by side per delivery; each takes up to 8 MB of memory."
    )
    connect_timeout: Seconds = Field(10.0, description="Seconds to wait for the connection.")
    timeout: Seconds = Field(60.0, description="Seconds to wait for each answer of the store.")

    @field_validator("tags")
    @classmethod
    def _taggable(cls, value: dict[str, str]) -> dict[str, str]:
        if len(value) > _MOST_TAGS:
            raise ValueError(f"an object has at most {_MOST_TAGS} tags")
        for name, text in value.items():
            if not 1 <= len(name) <= 128 or name.startswith("aws:"):  # noqa: PLR2004 — S3's limit
                raise ValueError("a tag's name has 1 to 128 characters and is not aws:…")
            if not (_TAG.fullmatch(name) and _TAG.fullmatch(text)):
                raise ValueError("tags are letters, digits, spaces and + - = . _ : / @, up to 256")
        return value

    @field_validator("metadata")
    @classmethod
    def _header_like(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _METADATA_NAME.fullmatch(name):
                raise ValueError("a name is lower-case letters, digits, dashes and underscores")
            if not _METADATA_VALUE.fullmatch(text):
                raise ValueError("a value is 1 to 256 characters of printable ASCII")
        if sum(len(name) + len(text) for name, text in value.items()) > _MOST_METADATA:
            raise ValueError(f"all metadata together have at most {_MOST_METADATA} characters")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key go together")
        if self.kms_key is not None and self.encryption != "aws:kms":
            raise ValueError("kms_key needs encryption: aws:kms")
        if self.ca is not None and self.url.startswith("http:"):
            raise ValueError("a ca is of no use without https in the endpoint")
        return self

    @property
    def url(self) -> str:
        """The URL of the store, without the bucket."""
        if self.endpoint is not None:
            return self.endpoint
        china = ".cn" if self.region.startswith("cn-") else ""
        return f"https://s3.{self.region}.amazonaws.com{china}"

    @property
    def in_path(self) -> bool:
        """Whether the bucket is in the path of URLs."""
        if self.path_style is not None:
            return self.path_style
        return self.endpoint is not None or "." in self.bucket  # no certificate is for a.b.s3…

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of the bucket's URL."""
        url = urlsplit(self.url)
        host = url.hostname or ""
        port = url.port or (443 if url.scheme == "https" else 80)
        return (host if self.in_path else f"{self.bucket}.{host}"), port
