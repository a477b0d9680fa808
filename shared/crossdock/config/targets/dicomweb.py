"""Settings of DICOMweb targets."""

import re
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from crossdock.config.fields import Configured, Host, Port, Seconds
from crossdock.config.secret import Secret, SecretValue
from crossdock.config.targets.base import TargetBase
from crossdock.config.targets.folder import FolderTarget
from crossdock.config.targets.urls import HttpUrl, split_http_url
from crossdock.config.tls import FilePath, TargetTls


_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")  # RFC 9110 5.6.2
_OURS = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length",
    "content-type", "expect", "host", "keep-alive", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_MOST_HEADERS = 50
_PATH = re.compile(r"[\w.~%+@,=/-]+", re.ASCII)
_KARNAK_PAIR = re.compile(r"\s*<key>(.*?)</key>\s*<value>(.*?)</value>\s*", re.DOTALL)


def _single_line(secret: SecretValue) -> SecretValue:
    """Check a secret that goes into a header; one from elsewhere is checked when it is used."""
    plain = secret.plain.get_secret_value() if secret.plain else ""
    if any(ord(character) < ord(" ") or character == "\x7f" for character in plain):
        raise ValueError("control characters, such as line breaks, cannot be in a header")
    return secret


def _from_karnak(value: Any) -> Any:
    """Return Karnak's text of headers, ``<key>…</key><value>…</value>`` repeated, as a mapping."""
    if not isinstance(value, str):
        return value
    headers: dict[str, str] = {}
    position = 0
    while pair := _KARNAK_PAIR.match(value, position):
        name, position = pair[1].strip(), pair.end()
        if name in headers:
            raise ValueError("a header is there twice")
        headers[name] = pair[2].strip()
    if position < len(value) or not headers:
        raise ValueError("write a mapping, or <key>Name</key><value>Value</value> for each header")
    return headers


def _headers(value: dict[str, SecretValue]) -> dict[str, SecretValue]:
    if len(value) > _MOST_HEADERS:
        raise ValueError(f"there are more than {_MOST_HEADERS} headers")
    if any(not _HEADER_NAME.fullmatch(name) for name in value):
        raise ValueError("a header's name consists of letters, digits and dashes")
    if len({name.lower() for name in value}) < len(value):
        raise ValueError("a header is there twice")
    for name in value:
        if name.lower() in _OURS:
            raise ValueError(f"{name} is set by ourselves")
    return value


def _prefix(value: str) -> str:
    path = value.strip("/")
    if path and (not _PATH.fullmatch(path) or any(p in ("", ".", "..") for p in path.split("/"))):
        raise ValueError("use a path below the url, such as stow")
    return path


def _url(value: str) -> str:
    """Check a base URL: http, https, or file for a folder on this machine."""
    if not value.lower().startswith("file:"):
        found = split_http_url(value, "https://pacs.example/dicom-web or file:///data")
        return found.geturl().rstrip("/")
    found = urlsplit(value)
    path = unquote(found.path)
    if found.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise ValueError("use an absolute path, such as file:///data/research")
    if found.query or found.fragment:
        raise ValueError("write ? and # in a path as %3F and %23")
    return found.geturl()


HeaderSecret = Annotated[Secret, AfterValidator(_single_line)]
Headers = Annotated[
    dict[str, HeaderSecret], BeforeValidator(_from_karnak), AfterValidator(_headers)
]
Prefix = Annotated[str, Field(max_length=200), AfterValidator(_prefix)]
User = Annotated[str, Field(max_length=200, pattern=r"^[^:\x00-\x1f\x7f]*$")]


class Basic(Configured):
    """HTTP Basic authentication (RFC 7617)."""

    user: Annotated[User, Field(min_length=1)]
    password: HeaderSecret


class ClientCredentials(Configured):
    """OAuth2 client credentials (RFC 6749 4.4); a token is renewed before it expires."""

    token_url: HttpUrl = Field(description="Where tokens are given out.")
    client_id: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[ -~]+$")]
    client_secret: Secret
    scope: Annotated[str, Field(max_length=2000, pattern=r"^[ -~]*$")] = Field(
        "", description="What the token is to be good for, separated by spaces."
    )
    credentials_in: Literal["header", "body"] = Field(
        "header", description="Where the token server wants client_id and client_secret."
    )
    ca: FilePath | None = Field(
        None, description="PEM file: the CAs that may sign the token server; the system's if none."
    )


class HttpProxy(Configured):
    """A proxy that requests go through; those of the environment are not used."""

    host: Host
    port: Port
    user: User = ""
    password: HeaderSecret | None = None

    @model_validator(mode="after")
    def _user_and_password(self) -> "HttpProxy":
        if bool(self.user) != (self.password is not None):
            raise ValueError("a user needs a password, and a password a user")
        return self


class DicomwebTarget(TargetBase):
    """A DICOMweb server (PS3.18), or with a ``file://`` URL a folder on this machine."""

    can_query: ClassVar[bool] = True

    type: Literal["dicomweb"]
    url: Annotated[str, Field(max_length=1000), AfterValidator(_url)] = Field(
        description="Base URL of the services, or file:///path of a folder."
    )
    stow_prefix: Prefix = Field("", description="Path of STOW-RS below the url.")
    qido_prefix: Prefix = Field("", description="Path of QIDO-RS below the url.")
    wado_prefix: Prefix = Field("", description="Path of WADO-RS below the url.")
    basic: Basic | None = Field(None, description="User and password.")
    bearer: HeaderSecret | None = Field(None, description="A token that does not change.")
    oauth2: ClientCredentials | None = Field(None, description="OAuth2 client credentials.")
    headers: Headers = Field(
        default_factory=dict,
        description="More headers of each request; their values are secrets. Karnak's text of"
        " <key>Name</key><value>Value</value> is understood, too.",
    )
    tls: TargetTls | None = Field(
        None, description="Own CA, own certificate; the system's CAs if left out."
    )
    http2: bool = Field(False, description="Speak HTTP/2 where the server offers it over TLS.")
    proxy: HttpProxy | None = Field(None, description="A proxy to go through.")
    connections: Annotated[int, Field(ge=1, le=16)] = Field(
        2, description="Requests side by side per delivery."
    )
    batch_instances: Annotated[int, Field(ge=1, le=1000)] = Field(
        50, description="Most instances in a request."
    )
    batch_bytes: Annotated[int, Field(ge=1, le=2**40)] = Field(
        100_000_000,
        description="Most bytes in a request; a larger instance gets a request of its own.",
    )
    connect_timeout: Seconds = Field(10.0, description="Seconds to wait for the connection.")
    timeout: Seconds = Field(
        120.0, description="Seconds to wait for each answer of the peer, or for any progress."
    )

    @property
    def address(self) -> SplitResult:
        """The base URL in its parts."""
        return urlsplit(self.url)

    def resource(self, prefix: str, path: str) -> str:
        """Return the URL of a resource of the service with this prefix."""
        return "/".join(part for part in (self.url, prefix, path) if part)

    def folder(self) -> FolderTarget | None:
        """Return the folder that a ``file://`` URL stands for, None for any other."""
        if self.address.scheme != "file":
            return None
        return FolderTarget(type="folder", name=self.name, path=unquote(self.address.path))

    @field_validator("url")
    @classmethod
    def _can_be_queried(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("file:") and info.data.get("direction", "store") != "store":
            raise ValueError("a file url can be stored to only: use direction store")
        return value

    @field_validator("basic", "bearer", "oauth2", "headers", "tls", "http2", "proxy")
    @classmethod
    def _fits_the_url(cls, value: Any, info: ValidationInfo) -> Any:
        scheme = urlsplit(info.data.get("url", "")).scheme
        if value and scheme == "file":
            raise ValueError("is of no use with a file url")
        if value and info.field_name == "tls" and scheme == "http":
            raise ValueError("needs an https url")
        return value

    @field_validator("bearer", "oauth2", "headers")
    @classmethod
    def _one_login(cls, value: Any, info: ValidationInfo) -> Any:
        others = [name for name in ("basic", "bearer", "oauth2") if info.data.get(name)]
        logs_in = value
        if info.field_name == "headers":
            logs_in = any(name.lower() == "authorization" for name in value)
        if logs_in and others:
            raise ValueError(f"{others[0]} is there already: choose one way to log in")
        return value
