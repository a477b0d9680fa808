"""What can go wrong with a store, for people and for the dispatcher."""

from crossdock.errors import ErrorKind
from crossdock.protocols.failures import TargetFailed


class StoreFailed(TargetFailed):
    """The store is the problem; ``code`` is what it answered, if it did."""

    def __init__(
        self,
        kind: ErrorKind,
        found: str,
        advice: str,
        *,
        temporary: bool = False,
        retry_after: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__(kind, found, advice, temporary=temporary, retry_after=retry_after)
        self.code = code
