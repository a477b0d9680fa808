"""Pages of long lists: ``limit``, and ``before`` as the last page's ``next`` says."""

from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from config_api.answers import DeliverySummary, Listing, ParcelSummary
from config_api.records import Page


_LIMIT = Query(ge=1, le=500, description="Records per page.")
_BEFORE = Query(max_length=300, description="Only records older than the one of this identifier.")

_Record = TypeVar("_Record", DeliverySummary, ParcelSummary)


def _page(
    limit: Annotated[int, _LIMIT] = 50, before: Annotated[str | None, _BEFORE] = None
) -> Page:
    return Page(limit=limit, before=before)


Paging = Annotated[Page, Depends(_page)]


def listing(found: Sequence[_Record], limit: int) -> Listing[_Record]:
    """Return a page of records, and where the next one begins if this one is full."""
    items = list(found)
    return Listing(items=items, next=items[-1].id if len(items) == limit else None)
