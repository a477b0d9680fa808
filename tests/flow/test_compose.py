"""The topology of docker-compose.yml, run for real: each of its services as a process of its own.

Commands and environments are the file's; only host names, ports and paths are this machine's.
"""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

import compose
import launching
from ports import free_port
from servers.dcmtk import run, storescp
from servers.postgres import postgres
from servers.rabbitmq import rabbitmq
from studies import by_uid, make_ct
from waiting import until


class Stack:
    """The services of the file, as processes below one directory."""

    def __init__(self, directory: Path, places: dict[str, str]) -> None:
        self.services = compose.ours(compose.document()["services"])
        self.log = directory / "log"
        self.secrets = compose.make_secrets(directory / "secrets")
        self._directory = directory
        self._ports = {name: free_port() for name in self.services}
        token = (self.secrets / "api-token").read_text()
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{self._ports['config-api']}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=15.0,
        )
        for name, place in places.items():
            file = self.secrets / name
            text = place.replace("PASSWORD", (self.secrets / "broker-password").read_text())
            file.unlink()
            file.write_text(text)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a service as its container would be."""
        command: list[str] = self.services[name]["command"]
        environment = self._environment(name)
        return launching.start(launching.SERVICES, *command, log=self.log, environment=environment)

    def _environment(self, name: str) -> dict[str, str]:
        data = self._directory / name
        data.mkdir()
        if "/data/spool" in compose.mounts(self.services[name]):
            spool = self._directory / "spool"
            spool.mkdir(exist_ok=True)
            (data / "spool").symlink_to(spool)
        given: dict[str, str] = self.services[name]["environment"]
        return {key: self._here(name, value) for key, value in given.items()}

    def _here(self, name: str, value: str) -> str:
        """Return a variable's value with this machine's places in it."""
        value = value.replace("/run/secrets/", f"{self.secrets}/")
        value = value.replace("0.0.0.0:8080", f"127.0.0.1:{self._ports[name]}")
        for other, port in self._ports.items():
            value = value.replace(f"{other}:8080", f"127.0.0.1:{port}")
        return str(self._directory / name) if value == "/data" else value

    def problems(self) -> dict[str, Any]:
        """Return what keeps the whole from being ready."""
        try:
            said: dict[str, Any] = self.api.get("/readyz").json()["problems"]
        except httpx.TransportError as error:
            return {"config-api": type(error).__name__}
        return said

    def ready(self, revision: int) -> bool:
        """Whether all is well with a revision of the configuration in force everywhere."""
        return not self.problems() and self.api.get("/readyz").json()["revision"] == revision

    def open_to_all(self) -> None:
        """Check what everybody may ask of every service: how it is, and what it counts."""
        for name, port in self._ports.items():
            for path in ("/healthz", "/metrics"):
                answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60)
                assert answer.status_code == 200, (name, path)
            assert f'crossdock_build_info{{service="{name.partition("-")[0]}' in answer.text
        private = httpx.get(
            f"http://127.0.0.1:{self._ports['config-api']}/api/v1/targets", timeout=60
        )
        assert private.status_code == 401


@contextmanager
def stack(directory: Path) -> Iterator[Stack]:
    """Run the broker with its own settings, the database, and all services."""
    secrets = compose.make_secrets(directory / "secrets")
    settings = compose.rabbitmq_settings(directory, secrets)
    with (
        rabbitmq(directory / "rabbitmq", settings) as broker,
        postgres() as database,
        ExitStack() as ending,
    ):
        url = f"amqp://crossdock:PASSWORD@127.0.0.1:{broker.port}/"
        stack = Stack(directory, {"broker-url": url, "database-url": database.database()})
        ending.callback(stack.api.close)
        processes = [stack.start(name) for name in stack.services]
        try:
            yield stack
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                ending.callback(process.wait, 20)


def test_a_study_passes_through_the_topology_of_compose(tmp_path: Path) -> None:
    sent, folder, port = make_ct(tmp_path / "study", 20), tmp_path / "folder", free_port()
    folder.mkdir()
    with stack(tmp_path / "stack") as running, storescp(tmp_path / "archive") as archive:
        until(lambda: running.ready(1), 80, "the overview is green", step=0.2)
        running.open_to_all()
        document = {
            "store_nodes": [
                {"name": "main", "ae_title": "CROSSDOCK", "port": port, "accept": "any"}
            ],
            "targets": [
                {"name": "research", "type": "folder", "path": str(folder)},
                {
                    "name": "archive",
                    "type": "dicom",
                    "host": "127.0.0.1",
                    "port": archive.port,
                    "called_ae_title": "ARCHIVE",
                },
            ],
            "rules": [{"name": "all", "targets": ["research", "archive"]}],
        }
        assert running.api.put("/api/v1/gateway", json=document).status_code == 200
        until(lambda: running.ready(2), what="revision 2 is in force", step=0.1)
        done = run("dcmsend", "-aec", "CROSSDOCK", "127.0.0.1", port, *sent)
        assert done.returncode == 0, done.stdout
        until(lambda: _states(running) == ["delivered"] * 2, what="both deliveries", step=0.1)
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(sent)
        assert by_uid(archive.files()) == by_uid(sent)


def _states(running: Stack) -> list[str]:
    items = running.api.get("/api/v1/deliveries").json()["items"]
    return [each["state"] for each in items]
