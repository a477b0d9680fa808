"""URLs that targets name."""

from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from crossdock.config.fields import Host


_HOST: TypeAdapter[str] = TypeAdapter(Host)


def split_http_url(value: str, example: str, *, query: bool = False) -> SplitResult:
    """Check an http or https URL, and return it in its parts.

    Raises:
        ValueError: it is none, or has a user, a fragment or a ``query`` where there must be none.
    """
    try:
        found = urlsplit(value)
        usable = found.scheme in ("http", "https") and found.port != 0
        _HOST.validate_python(found.hostname or "")
    except (ValueError, ValidationError):
        usable = False
    if not usable or any(not "!" <= character <= "~" for character in value):
        raise ValueError(f"use a URL such as {example}; write odd characters as %XX")
    if found.username is not None or found.password is not None:
        raise ValueError("keep user and password out of the URL: there are fields for them")
    if found.fragment or (found.query and not query):
        raise ValueError("use a URL without ? and #")
    return found


def _token_url(value: str) -> str:
    return split_http_url(value, "https://login.example/token", query=True).geturl()


HttpUrl = Annotated[str, Field(max_length=1000), AfterValidator(_token_url)]
"""An absolute http or https URL without user, password and fragment."""
