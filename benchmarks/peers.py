"""Who is measured: our receiver and bare SCP beside DCMTK, Orthanc and pynetdicom.

Each is a context manager that runs one program on a free port, keeping what it gets below a
directory of its own.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certificates import Certificate
from processes import NO_DELAY, Server, free_port, serving


PROGRAMS = Path(__file__).parent / "programs"
_ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"


@dataclass(frozen=True, slots=True)
class Peer:
    """A running storage SCP; ``clear`` forgets what it has received."""

    server: Server
    clear: Callable[[], None]


Starter = Callable[[Path], AbstractContextManager[Peer]]


@contextmanager
def storescp(
    home: Path, *options: str, environment: Mapping[str, str] = NO_DELAY
) -> Iterator[Peer]:
    """Run DCMTK's storescp; ``--ignore`` among the options keeps nothing."""
    kept = home / "storescp"
    kept.mkdir(parents=True)
    port = free_port()
    command = ["/usr/bin/storescp", "-q", "-od", kept, *options, str(port)]
    with serving(command, port, environment) as server:
        yield Peer(server, lambda: empty(kept))


@contextmanager
def pynetdicom(home: Path, *options: str) -> Iterator[Peer]:
    """Run pynetdicom's SCP as its documentation writes it, or with ``--encoded``."""
    kept = home / "pynetdicom"
    kept.mkdir(parents=True)
    port = free_port()
    command = [sys.executable, PROGRAMS / "pynetdicom_scp.py", str(port), kept, *options]
    with serving(command, port) as server:
        yield Peer(server, lambda: empty(kept))


@contextmanager
def orthanc(
    home: Path,
    environment: Mapping[str, str] = NO_DELAY,
    lua: Path | None = None,
    modalities: Mapping[str, list[Any]] | None = None,
) -> Iterator[Peer]:
    """Run Orthanc with its own database; ``lua`` may forward what arrives to ``modalities``."""
    kept, file, port = home / "orthanc", home / "orthanc.json", free_port()
    kept.mkdir(parents=True)
    settings = {
        "StorageDirectory": str(kept),
        "IndexDirectory": str(kept),
        "HttpServerEnabled": False,
        "DicomPort": port,
        "DicomAet": "ANY-SCP",
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "OverwriteInstances": True,
        "DicomModalities": dict(modalities or {}),
        "LuaScripts": [str(lua)] if lua else [],
    }
    file.write_text(json.dumps(settings))
    with serving([_ORTHANC, file], port, environment) as server:
        # What it keeps has its own index: it overwrites, as it would in use.
        yield Peer(server, lambda: None)


@contextmanager
def bare(
    home: Path, *, keep: bool = True, certificate: Certificate | None = None
) -> Iterator[Peer]:
    """Run our StorageScp with a handler that writes files, without spool and syncs."""
    kept = home / "bare"
    kept.mkdir(parents=True)
    port = free_port()
    where = ["--keep", kept] if keep else []
    tls = certificate.ours if certificate else []
    command = [sys.executable, PROGRAMS / "scp.py", str(port), *where, *tls]
    with serving(command, port) as server:
        yield Peer(server, lambda: empty(kept))


@contextmanager
def receiver(
    home: Path, environment: Mapping[str, str] | None = None, **node: Any
) -> Iterator[Peer]:
    """Run ``crossdock receiver`` with one store node; ``node`` is more of its settings."""
    data, port = home / "receiver", free_port()
    settings = {"name": "main", "ae_title": "ANY-SCP", "port": port, "accept": "any", **node}
    configure(data, "receiver", {"store_nodes": [{"check_called_ae_title": False} | settings]})
    with serving(
        service("receiver"), port, {**surroundings(data), **(environment or {})}
    ) as server:
        yield Peer(server, lambda: clear_spool(data))


def service(*command: str) -> list[str]:
    """Return the command that runs one of our services."""
    return [sys.executable, "-m", "crossdock.cli.services", *command]


def surroundings(data: Path) -> dict[str, str]:
    """Return the environment of a service that works in ``data``."""
    return {"CROSSDOCK_DATA": str(data), "CROSSDOCK_HTTP": "127.0.0.1:0", "CROSSDOCK_LOG": "error"}


def configure(data: Path, name: str, document: Mapping[str, Any]) -> None:
    """Give a service its configuration as the copy that it keeps for a start without config-api."""
    copy = data / "config" / f"{name}.json"
    copy.parent.mkdir(parents=True, exist_ok=True)
    published = {"type": "config.published", "revision": 1, "document": dict(document)}
    copy.write_text(json.dumps(published))


def clear_spool(data: Path) -> None:
    """Remove the parcels that are closed, and what was said of them."""
    for folder in ("parcels", "retired", "held"):
        empty(data / "spool" / folder)


def empty(directory: Path) -> None:
    """Remove everything in a directory."""
    for path in list(directory.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
