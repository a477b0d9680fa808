"""What adapters are tested against: one class per protocol, each with a real peer behind it."""

import shutil
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt

from crossdock.config.snapshot import parse_object
from crossdock.config.targets import Target
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.uids import VERIFICATION
from crossdock.model import Instance
from crossdock.protocols import Outgoing
from servers.dcmtk import storescp
from studies import by_uid
from waiting import until


class Remote(ABC):
    """A peer that works, and how to make it work less. A context manager.

    ``Guarded``, ``Secretive`` and ``Connected`` are those of which more can be wrong.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stack = ExitStack()

    @abstractmethod
    def target(self, **changes: object) -> Target:
        """Return settings that reach this peer."""

    @abstractmethod
    def files(self) -> list[Path]:
        """Return all files that the peer has now."""

    @abstractmethod
    def absent(self) -> Target:
        """Return settings of the protocol that reach nobody."""

    @abstractmethod
    def misnamed(self) -> Target:
        """Return settings that reach somebody, and are wrong."""

    @abstractmethod
    def refusing(self, outgoing: Outgoing) -> Target:
        """Return settings of a peer that refuses this instance and no other."""

    @abstractmethod
    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        """Return a peer that goes away after some instances; call it with each number."""

    def received(self) -> dict[str, bytes]:
        """Return what the peer has: dataset bytes by SOP Instance UID."""
        return by_uid([path for path in self.files() if not path.name.startswith(".")])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stack.close()


class Guarded(Remote):
    """A peer that asks who is there."""

    @abstractmethod
    def unauthorised(self) -> Target:
        """Return settings that reach this peer with credentials that it does not accept."""


class Secretive(Guarded):
    """A peer that asks for a secret."""

    secrets: tuple[str, ...]
    """Plain secrets in any of the settings; they must never show anywhere."""


class Connected(Remote):
    """A peer at the other end of a connection."""

    @abstractmethod
    def hanging(self) -> Target:
        """Return settings of a peer that accepts connections and never answers.

        Its time-outs are small: a second or less.
        """


class FolderRemote(Remote):
    """A directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.path = directory / "folder"
        self.path.mkdir()

    def target(self, **changes: object) -> Target:
        return make_target({"type": "folder", "path": str(self.path), **changes})

    def files(self) -> list[Path]:
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    def absent(self) -> Target:
        return self.target(path=str(self.directory / "not mounted"))

    def misnamed(self) -> Target:
        file = self.directory / "file"
        file.touch()
        return self.target(path=str(file))

    def refusing(self, outgoing: Outgoing) -> Target:
        (self.path / f"{outgoing.instance.number:d}").touch()
        return self.target(naming="{InstanceNumber}/{SOPInstanceUID}.dcm")

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        def after_each(number: int) -> None:
            if number == after:
                gone = self.path.rename(self.directory / "gone")
                until(lambda: not _remains(gone), what="the directory is gone")

        return self.target(), after_each


class DicomRemote(Guarded, Connected):
    """DCMTK's storescp, and pynetdicom where a peer must misbehave."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._scp = self.stack.enter_context(storescp(directory / "scp", "+B", "+xa"))

    def target(self, **changes: object) -> Target:
        return dicom_target(**{"port": self._scp.port, **changes})

    def files(self) -> list[Path]:
        return self._scp.files()

    def absent(self) -> Target:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        return self.target(port=port)

    def misnamed(self) -> Target:
        peer = self.stack.enter_context(scripted([], require_called_aet=True))
        return dicom_target(peer, called_ae_title="WRONG")

    def refusing(self, outgoing: Outgoing) -> Target:
        statuses = {outgoing.instance.sop_instance_uid: 0xA900}
        return dicom_target(self.stack.enter_context(scripted(statuses)))

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        statuses = [0x0000] * after + ["abort"]
        return dicom_target(self.stack.enter_context(scripted(statuses))), lambda _number: None

    def unauthorised(self) -> Target:
        peer = self.stack.enter_context(scripted([], require_calling_aet=["SOMEBODY"]))
        return dicom_target(peer)

    def hanging(self) -> Target:
        return dicom_target(self.stack.enter_context(speaking(b"")), timeout=0.5)


def _remains(path: Path) -> bool:
    """Remove a directory that somebody may still write to; return whether it is there yet."""
    shutil.rmtree(path, ignore_errors=True)
    return path.exists()


def make_target(document: dict[str, Any]) -> Target:
    """Return settings with a name."""
    target: Any = parse_object("targets", {"name": "remote", **document})
    return target  # type: ignore[no-any-return]  # parse_object knows its kinds by name only


def dicom_target(port: object, **changes: object) -> Target:
    """Return settings that reach a DICOM peer on this machine."""
    return make_target(
        {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "PEER", **changes}
    )


def outgoing_of(paths: Sequence[Path], **changes: object) -> list[Outgoing]:
    """Return the files as instances of a parcel, numbered from 1."""
    return [_outgoing(number, path, changes) for number, path in enumerate(paths, 1)]


def _outgoing(number: int, path: Path, changes: dict[str, object]) -> Outgoing:
    meta = read_file_meta(path)
    instance = Instance(
        number=number,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size=path.stat().st_size,
        calling_ae_title="CT1",
        called_ae_title="CROSSDOCK",
        address="10.0.0.7",
    )
    return Outgoing(instance.model_copy(update=changes), path)


Answers = dict[str, int] | Sequence[int | str]
"""Statuses by SOP Instance UID, or in order; beyond them all is success. ``abort`` aborts."""


@contextmanager
def scripted(
    answers: Answers,
    *,
    verification: bool = True,
    tls: ssl.SSLContext | None = None,
    **settings: object,
) -> Iterator[int]:
    """Run a storage SCP for CT that answers as told; yield its port."""
    ae = AE(ae_title="PEER")
    ae.add_supported_context(CTImageStorage)
    if verification:
        ae.add_supported_context(VERIFICATION)
    for name, value in settings.items():
        setattr(ae, name, value)
    count = iter(range(1_000_000))

    def store(event: Any) -> int:
        number = next(count)
        if isinstance(answers, dict):
            return answers.get(str(event.request.AffectedSOPInstanceUID), 0x0000)
        answer = answers[number] if number < len(answers) else 0x0000
        if answer == "abort":
            event.assoc.abort()
            return 0x0000
        return int(answer)

    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, store)],
        ssl_context=tls,
    )
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def speaking(answer: bytes) -> Iterator[int]:
    """Run a server that says ``answer`` to whatever it gets, and waits; yield its port."""
    connections = []

    def serve(server: socket.socket) -> None:
        with suppress(OSError):  # the test is over
            while True:
                connection, _ = server.accept()
                connections.append(connection)
                connection.recv(1)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                connection.close()
            thread.join()
