"""A worker process: serves the connections that its receiver hands over."""

import os
import socket
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from crossdock.config import Gateway
from crossdock.model import Parcel
from crossdock.service import stop_on_signals
from crossdock.settings import Settings
from crossdock.spool import Spool
from crossdock.spool.room import Room
from crossdock.telemetry import configure_logging
from receiver.facts import parcel_received
from receiver.parcels import Parcels
from receiver.serving import LocalServing
from receiver.workers import words
from receiver.workers.asked import AskedAdmission
from receiver.workers.channel import Channel
from receiver.workers.counts import count_into


log = structlog.get_logger(__name__)

_GRACE_SECONDS = 5.0


def work(settings: Settings, counts: Path, number: int, sock: socket.socket) -> int:
    """Be worker ``number`` until told to stop, or the receiver is gone; return the exit code.

    What is in work then is finished, and the parcels that grow here are closed.
    """
    configure_logging(settings.log_level, "receiver", worker=number)
    count_into(counts)
    stopping = threading.Event()
    stop_on_signals(stopping)
    channel = Channel(sock)
    spool = Spool(settings.spool)
    parcels = Parcels(spool, partial(_announce, channel))
    parcels.start()
    room = Room(settings.spool, settings.spool_reserve, told=False)
    admission = AskedAdmission(channel)
    serving = LocalServing(spool, parcels, room, admission, partial(_closed, channel))
    ear = _Ear(channel, serving, admission, stopping)
    threading.Thread(target=ear.listen, name="channel", daemon=True).start()
    stopping.wait()
    serving.stop(ear.grace)
    parcels.stop()
    return 0


class _Ear:
    """Hears the receiver and does what it says."""

    def __init__(
        self,
        channel: Channel,
        serving: LocalServing,
        admission: AskedAdmission,
        stopping: threading.Event,
    ) -> None:
        self._channel = channel
        self._serving = serving
        self._admission = admission
        self._stopping = stopping
        self.grace = _GRACE_SECONDS

    def listen(self) -> None:
        """Listen until the receiver is gone."""
        try:
            while (said := self._channel.receive()) is not None:
                self._do(*said)
        finally:
            self._stopping.set()

    def _do(self, said: words.Words, descriptor: int | None) -> None:
        match said:
            case words.Serve() if descriptor is not None:
                self._serve(said, socket.socket(fileno=descriptor))
            case words.Configure() if descriptor is not None:
                self._configure(said.revision, descriptor)
            case words.Admitted():
                self._admission.answered(said)
            case words.Stop():
                self.grace = said.grace
                self._stopping.set()

    def _serve(self, said: words.Serve, sock: socket.socket) -> None:
        try:
            self._serving.serve(said.store_node, sock, said.address)
        except (OSError, RuntimeError) as error:  # the peer is gone already, or no thread is left
            log.warning("connection.failed", address=said.address[0], reason=str(error))
            sock.close()
            _closed(self._channel)

    def _configure(self, revision: int, descriptor: int) -> None:
        document = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        os.close(descriptor)
        self._serving.configure(Gateway.model_validate_json(document), revision)
        self._channel.send(words.Configured(revision=revision))


def _closed(channel: Channel) -> None:
    with suppress(OSError):  # without the receiver nobody counts any more
        channel.send(words.Closed())


def _announce(channel: Channel, parcel: Parcel) -> None:
    try:
        channel.send(words.Parcel(received=parcel_received(parcel)))
    except OSError as error:
        # It is safe in the spool, and the reconciler announces it again.
        log.warning("parcel.not_announced", parcel=parcel.id, reason=error.strerror)
