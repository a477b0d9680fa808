"""What an answer's status and headers say."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus


HTML = ("text/html", "application/xhtml+xml")

_LONGEST_WAIT = 86_400.0  # seconds


def status_words(status: int) -> str:
    """Return a status for people: ``HTTP 404 Not Found``."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def seconds_to_wait(text: str) -> float | None:
    """Return what Retry-After says, in seconds from now, None if nothing (RFC 9110 10.2.3)."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), _LONGEST_WAIT)
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        left = (when - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(left, 0.0), _LONGEST_WAIT)
