"""A whole gateway, and between it and everybody else a network that a test can spoil."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from crossdock.spool import Spool
from ports import free_port
from running import Running, running
from servers import absent
from servers.cable import Cable, cable
from servers.dcmtk import StoreScp, run, storescp
from servers.line import line
from servers.names import Names, names
from servers.sshd import sshd
from studies import dataset_bytes
from waiting import until


HOST = "archive.hospital.test"
SHELF, PACS, SFTP, FAR, NAMED = "shelf", "pacs", "sftp", "far", "named"
_PATIENCE = {"timeout": 2, "connect_timeout": 2}  # seconds


class Network:
    """The gateway and its neighbours.

    Its store node is at ``port``, and ``entry`` is a line to there; ``lines`` lead to the targets
    PACS and SFTP. FAR is at the other end of ``cable``, NAMED is known to ``names`` as HOST. Both
    are there only for root.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.port = free_port()
        self.entry = stack.enter_context(line(self.port))
        self._pacs = stack.enter_context(_pacs(directory / PACS))
        server = stack.enter_context(sshd(directory / "sshd"))
        for name in (SHELF, SFTP):
            (directory / name).mkdir()
        to = {PACS: self._pacs.port, SFTP: server.port}
        self.lines = {name: stack.enter_context(line(port)) for name, port in to.items()}
        ssh = server.settings(port=self.lines[SFTP].port, path=str(directory / SFTP), timeout=5)
        targets: list[dict[str, Any]] = [
            {"name": SHELF, "type": "folder", "path": str(directory / SHELF)},
            {"name": SFTP, "type": "sftp", **ssh},
            _dicom(PACS, "127.0.0.1", self.lines[PACS].port),
        ]
        self._cable, self._names = _cable(stack), _names(directory, stack)
        if self._cable is not None:
            with self._cable.at_the_far_end():
                self._far = stack.enter_context(_pacs(directory / FAR))
            far = _dicom(FAR, self._cable.far, self._far.port)
            targets.append(far | {"bandwidth": "4 MB/s"})
        if self._names is not None:
            targets.append(_dicom(NAMED, HOST, self._pacs.port))
        before = () if self._names is None else self._names.program
        data, gateway = directory / "data", _gateway(self.port, targets)
        self.crossdock: Running = stack.enter_context(running(data, gateway, before=before))
        self.spool = Spool(data / "spool")

    @property
    def cable(self) -> Cable:
        """The cable, for tests that need it."""
        return self._cable or absent("only root may make a network namespace")

    @property
    def names(self) -> Names:
        """The name server, for tests that need it."""
        return self._names or absent("only root may listen on the port of name servers")

    def heal(self) -> None:
        """Have all lines be good ones again."""
        for each in (self.entry, *self.lines.values()):
            each.heal()

    def send(
        self,
        paths: Sequence[Path],
        port: int | None = None,
        host: str = "127.0.0.1",
        patience: int = 2,
    ) -> list[Path]:
        """Send as a modality does, over one association; return what was answered with success.

        It waits for each answer for so many seconds.
        """
        waits = [word for limit in ("-to", "-ts", "-ta", "-td") for word in (limit, patience)]
        who = ("-aet", "CT1", "-aec", "CROSSDOCK", host, port or self.port)
        said = run("storescu", "-v", "-R", "-xe", *waits, *who, *paths).stdout
        return list(paths[: said.count("Received Store Response (Success)")])

    def arrived(self, study: str) -> int:
        """How many instances of a study the gateway has taken, as its ledger says."""
        rows = self.crossdock.parcels(study=study)
        return sum(row["instances"] for row in rows)

    def ended(self, study: str, count: int) -> bool:
        """Whether a study of ``count`` instances has been delivered, late ones included."""
        parcels, rows = self.crossdock.parcels(study=study), self.crossdock.deliveries(study=study)
        done = len(rows) == len(parcels) and {row["state"] for row in rows} == {"delivered"}
        return done and sum(row["instances"] for row in parcels) >= count

    def waits(self, target: str) -> dict[str, Any]:
        """Say what waits for a target, and why."""
        waiting: dict[str, Any] = self.crossdock.api.get(f"/api/v1/targets/{target}/waiting").json()
        return waiting

    def fails(self, target: str, words: str = "") -> dict[str, Any]:
        """Wait until a target has failed, for a reason of these words; return why."""
        what = f"{target} fails: {words}"
        until(lambda: words in self.waits(target)["reason"] != "", what=what, step=0.1)
        return self.waits(target)

    def burned(self, target: str) -> int:
        """How many attempts the deliveries that wait for a target have lost."""
        waiting = [each for each in self.spool.stored() if target in each.targets("pending")]
        return sum(each.record(target).attempts for each in waiting)

    def pauses(self, target: str) -> list[str]:
        """Why a target has been left alone, each time, as the log says."""
        lines = self.crossdock.log.read_text().splitlines()
        said = [json.loads(each) for each in lines if '"target.paused"' in each]
        return [each["kind"] for each in said if each["target"] == target]

    def received(self, target: str, study: str) -> Mapping[str, list[bytes]]:
        """Return what a target has of a study: dataset bytes of each copy by SOP Instance UID."""
        found: dict[str, list[bytes]] = defaultdict(list)
        for path in (self.directory / target).rglob("*"):
            # A storescp that is cut off keeps the half that it has until it notices.
            with suppress(InvalidDicomError, EOFError, FileNotFoundError):
                if path.is_file() and not path.name.startswith("."):
                    ds = dcmread(path, stop_before_pixels=True)
                    if ds.StudyInstanceUID == study:
                        found[str(ds.SOPInstanceUID)].append(dataset_bytes(path))
        return found


@contextmanager
def network(directory: Path) -> Iterator[Network]:
    """Run a gateway in a network until the block ends."""
    with ExitStack() as stack:
        yield Network(directory, stack)


def _pacs(directory: Path) -> AbstractContextManager[StoreScp]:
    # Each arrival is a file of its own, so that what comes twice is seen.
    return storescp(directory, "--fork", "+uf", "+B", "+xa", "-ts", "5", "-td", "5")


def _cable(stack: ExitStack) -> Cable | None:
    try:
        return stack.enter_context(cable())
    except subprocess.CalledProcessError:
        return None


def _names(directory: Path, stack: ExitStack) -> Names | None:
    try:
        return stack.enter_context(names(directory))
    except PermissionError:
        return None


def _dicom(name: str, host: str, port: int) -> dict[str, Any]:
    where = {"host": host, "port": port, "called_ae_title": "PACS"}
    return {"name": name, "type": "dicom", **where, **_PATIENCE}


def _gateway(port: int, targets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a configuration by which a study goes to the target that its description names."""
    rules = [
        {"name": name, "when": f'StudyDescription == "{name}"', "targets": [name]}
        for name in (target["name"] for target in targets)
    ]
    node = {"name": "main", "ae_title": "CROSSDOCK", "port": port, "accept": "any"}
    return {"store_nodes": [node | {"quiet_seconds": 2}], "targets": targets, "rules": rules}
