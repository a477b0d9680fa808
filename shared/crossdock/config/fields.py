"""The field types that configuration objects share, each with its rule and its message."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Configured(BaseModel):
    """Base of everything an operator writes: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")

_EMAIL = re.compile(r"[^\s@<>,;]{1,64}@[^\s@<>,;]{1,250}")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "use 1 to 64 letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit"
        )
    return value


def _ae_title(value: str) -> str:
    """Check an AE title (PS3.5 6.2: 16 characters of the default repertoire, no backslash)."""
    title = value.strip(" ")
    if not title:
        raise ValueError("an AE title needs at least one character that is no space")
    if len(title) > 16:  # noqa: PLR2004 — PS3.5 6.2
        raise ValueError("an AE title has at most 16 characters")
    if any(not " " <= character <= "~" or character == "\\" for character in title):
        raise ValueError("an AE title consists of printable ASCII characters without backslash")
    return title


def _host(value: str) -> str:
    """Check a host: name (underscores are fine), IPv4 or IPv6 address."""
    try:
        return str(ipaddress.ip_address(value.strip("[]")))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(value):
        raise ValueError("not a host name, IPv4 or IPv6 address")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError("not an address or network such as 10.0.0.7 or 10.0.0.0/24") from None


def _email(value: str) -> str:
    """Check an e-mail address as far as a typing mistake shows; empty is none."""
    if value and not _EMAIL.fullmatch(value):
        raise ValueError("not an e-mail address, such as pacs@hospital.example")
    return value


Name = Annotated[str, AfterValidator(_name)]
AETitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, AfterValidator(_host)]
Email = Annotated[str, AfterValidator(_email)]
Network = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Text = Annotated[str, StringConstraints(max_length=2000)]
