"""Which of the routers on a spool keeps house: one reconciles, deletes and reports, all of them route.

Two that did it side by side would do nothing wrong, but schedule everything twice after the loss of a
broker, delete more than there is need for, and tell a sender its result of storage commitment twice.
"""

import errno
import os
import threading

from crossdock.spool import Spool
from crossdock.spool.durable import try_lock


class Housekeeping:
    """The right to keep house, asked for from any thread.

    The first router that asks has it until its process ends, however it ends; then the next that asks.
    """

    def __init__(self, spool: Spool) -> None:
        self._path = spool.root / "housekeeping.lock"
        self._asking = threading.Lock()
        self._descriptor = -1
        # A disk with a file open for writing cannot be remounted read-only; NFS locks no other.
        self._access = os.O_RDONLY

    def is_ours(self) -> bool:
        """Whether this process keeps house.

        Raises:
            OSError: the spool cannot be written.
        """
        with self._asking:
            if self._descriptor < 0:
                self._take()
            return self._descriptor >= 0

    def close(self) -> None:
        """Leave it to another router."""
        with self._asking:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    def _take(self) -> None:
        descriptor = os.open(self._path, self._access | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            taken = try_lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno != errno.EBADF or self._access == os.O_RDWR:
                raise
            self._access = os.O_RDWR
            self._take()
            return
        if taken:
            self._descriptor = descriptor
        else:
            os.close(descriptor)
