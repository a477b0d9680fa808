"""The bare storage SCP in a process: datasets go to files in a directory, or nowhere.

``scp.py PORT [--keep DIRECTORY]`` shows what the upper layer alone can do; the receiver adds the spool.
"""

import argparse
import os
import signal
import threading
from collections.abc import Sequence

from crossdock.dicom.part10 import file_meta
from crossdock.dicom.storage_scp import Caller, Rejection, StorageScp
from crossdock.dicom.tls import ServerContext, TlsFiles


class ToFile:
    """Writes one instance, without syncing it."""

    def __init__(self, path: str, meta: bytes) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        self._meta: memoryview | None = memoryview(meta)

    def write(self, chunks: Sequence[memoryview]) -> None:
        """Append the chunks, after the meta information where that is not there yet."""
        if self._meta is not None:
            chunks, self._meta = [self._meta, *chunks], None
        os.writev(self._file, chunks)

    def commit(self) -> int:
        """Close the file."""
        os.close(self._file)
        return 0

    def discard(self) -> None:
        """Close the file."""
        os.close(self._file)


class ToNowhere:
    """Forgets one instance."""

    def write(self, chunks: Sequence[memoryview]) -> None:
        """Forget the chunks."""

    def commit(self) -> int:
        """Say that all is well."""
        return 0

    def discard(self) -> None:
        """Have nothing to discard."""


class Handler:
    """Takes everything."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory

    def admit(self, _caller: Caller) -> Rejection | None:
        """Accept everybody."""
        return None

    def begin(
        self, caller: Caller, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> ToFile | ToNowhere:
        """Open a file, if there is a directory for it."""
        if self._directory is None:
            return ToNowhere()
        meta = file_meta(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            calling_ae_title=caller.calling_ae_title,
            called_ae_title=caller.called_ae_title,
            address=caller.address,
        )
        return ToFile(f"{self._directory}/{sop_instance_uid}", meta)

    def ended(self, caller: Caller) -> None:
        """Have nothing to do."""


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--keep", metavar="DIRECTORY")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    arguments = parser.parse_args()
    tls = ServerContext(files_of(arguments.tls)) if arguments.tls else None
    scp = StorageScp("127.0.0.1", arguments.port, Handler(arguments.keep), tls=tls)
    scp.start()
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    over.wait()
    scp.stop(1.0)


def files_of(names: list[str]) -> TlsFiles:
    """Return files of which the certificate is its own CA, and that of the senders."""
    return TlsFiles(certificate=names[0], key=names[1], ca=names[0], client_certificate="required")


if __name__ == "__main__":
    main()
