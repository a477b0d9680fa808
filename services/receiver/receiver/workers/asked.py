"""Admission as a worker has it: it asks its receiver, who counts for all workers."""

import threading
from concurrent.futures import Future
from contextlib import suppress

from crossdock.config import StoreNode
from crossdock.dicom.storage_scp import Caller, Rejection
from receiver.workers.channel import Channel
from receiver.workers.words import Admit, Admitted, Ended


_ANSWER_SECONDS = 5.0


class AskedAdmission:
    """Asks over a channel; called from many threads."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._waiting: dict[str, Future[Rejection | None]] = {}

    def admit(self, node: StoreNode, caller: Caller) -> Rejection | None:
        """Admit a caller and return None, or return why not.

        Raises:
            OSError: the receiver is gone, or does not answer.
        """
        answer: Future[Rejection | None] = Future()
        with self._lock:
            self._waiting[caller.association] = answer
        try:
            self._channel.send(Admit(store_node=node.name, caller=caller))
            return answer.result(_ANSWER_SECONDS)
        except TimeoutError:
            self.ended(caller.association)  # it may yet be admitted
            raise
        finally:
            with self._lock:
                self._waiting.pop(caller.association, None)

    def ended(self, association: str) -> None:
        """Take note that an association is over, whether it was admitted or not."""
        with suppress(OSError):  # without the receiver nobody counts any more
            self._channel.send(Ended(association=association))

    def answered(self, said: Admitted) -> None:
        """Take the receiver's answer; one that nobody waits for any more is dropped."""
        with self._lock:
            answer = self._waiting.get(said.association)
        if answer is not None:
            answer.set_result(said.rejection)
