"""What is behind an error of httpx."""

import socket
import ssl
from collections.abc import Iterator

import httpx


def tls_error(error: httpx.HTTPError) -> ssl.SSLError | None:
    """Return the disagreement about TLS behind an error, None if the connection just broke."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            said = "ALERT" in (cause.reason or "")
            return cause if said or isinstance(error, httpx.ConnectError) else None
    return None


def words_of(error: httpx.HTTPError) -> str:
    """Return what the operating system says of a connection, empty if it says nothing."""
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return f"name not found: {(cause.strerror or '').lower()}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
