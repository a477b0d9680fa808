"""What ``crossdock up`` does once its services run: apply the configuration, greet, show the demo."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from crossdock.cli import demo
from crossdock.cli.send import Destination, find_files, send_files
from crossdock.cli.supervisor import Supervisor
from crossdock.dicom.header import read_keywords
from crossdock.errors import CrossdockError
from crossdock.settings import Settings


_READY_SECONDS = 40.0
_DELIVERED_SECONDS = 60.0


class FirstSteps(threading.Thread):
    """Takes the first steps in a thread, while the supervisor looks after the services.

    ``exit_code`` is 1 if they failed in a way that ended the program.
    """

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        document: dict[str, Any] | None,
        *,
        demo: bool,
        stopping: threading.Event,
    ) -> None:
        super().__init__(name="first-steps", daemon=True)
        self._settings = settings
        self._supervisor = supervisor
        self._document = document
        self._demo = demo
        self._stopping = stopping
        self._console = Console(highlight=False, soft_wrap=True)
        self._applied = document is None
        self.exit_code = 0

    def problem(self) -> str | None:
        """Return what is not done yet of what readiness depends on, None if all is."""
        return None if self._applied else "the configuration given with --config is not applied yet"

    def run(self) -> None:
        """Take the steps, each once the one before it is done."""
        address = self._wait(lambda: self._supervisor.http_address("config-api"), _READY_SECONDS)
        if address is None:
            self._console.print("config-api does not start; its log above says why.")
            return
        headers = {"Crossdock-Actor": "crossdock up"}
        if self._settings.api_token:
            headers["Authorization"] = f"Bearer {self._settings.api_token}"
        with httpx.Client(base_url=f"http://{address}", headers=headers, timeout=10.0) as api:
            try:
                self._with(api, address)
            except (httpx.HTTPError, CrossdockError, OSError) as error:
                if not self._stopping.is_set():
                    self._console.print(f"crossdock: {error}", markup=False)

    def _with(self, api: httpx.Client, address: str) -> None:
        if self._document is not None and not self._apply(api, self._document):
            self.exit_code = 1
            self._stopping.set()
            return
        if self._demo:
            self._set_up_demo(api)
        ready = self._wait(lambda: api.get("/readyz").status_code == 200, _READY_SECONDS)  # noqa: PLR2004
        if not ready and not self._stopping.is_set():
            self._say_problems(api)
        self._greet(api, address)
        if self._demo and ready:
            self._show_demo(api)

    def _wait(self, condition: Callable[[], Any], seconds: float) -> Any:
        """Return the first truthy answer, or None when the time is over or all is to stop."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = condition()
            if answer:
                return answer
            if self._stopping.wait(0.1):
                return None
        return None

    def _apply(self, api: httpx.Client, document: dict[str, Any]) -> bool:
        answer = api.put("/api/v1/gateway", json=document)
        if answer.is_success:
            self._applied = True
            return True
        said = answer.json()
        self._console.print(f"The configuration was not accepted: {said['detail']}", style="red")
        for problem in said.get("errors", []):
            self._console.print(f"  {problem['field']}: {problem['message']}", markup=False)
        return False

    def _set_up_demo(self, api: httpx.Client) -> None:
        """Set the demo up, unless there is a configuration already: that one is the user's."""
        present = api.get("/api/v1/gateway").json()
        if any(present.get(kind) for kind in ("store_nodes", "targets", "rules")):
            return
        folder = self._settings.data / "demo-folder"
        folder.mkdir(parents=True, exist_ok=True)
        self._apply(api, demo.demo_gateway(folder))

    def _say_problems(self, api: httpx.Client) -> None:
        self._console.print("Not everything is ready yet:", style="red")
        for name, reason in api.get("/readyz").json()["problems"].items():
            self._console.print(f"  {name}: {reason}", markup=False)

    def _greet(self, api: httpx.Client, address: str) -> None:
        self._console.print("\nCrossdock is up.", style="bold")
        nodes = api.get("/api/v1/gateway").json().get("store_nodes", [])
        for node in nodes:
            if node.get("enabled", True):
                self._console.print(
                    f"  store node {node['name']}: {node['ae_title']} on port {node['port']}",
                    markup=False,
                )
        if not nodes:
            self._console.print("  no store node yet: crossdock apply -f gateway.yaml")
        self._console.print(f"  web and API: http://{address}/")
        self._console.print(f"  data: {self._settings.data}", markup=False)
        self._console.print("Stop it with Ctrl-C.\n")

    def _show_demo(self, api: httpx.Client) -> None:
        gateway = api.get("/api/v1/gateway").json()
        node = next((n for n in gateway["store_nodes"] if n["name"] == demo.STORE_NODE), None)
        if node is None:
            self._console.print("There is a configuration already, so the demo is not shown.")
            return
        from crossdock.cli.demo_study import write_study  # noqa: PLC0415 — pydicom takes a second

        files, _, _ = find_files(write_study(self._settings.data / "demo-study"))
        to = Destination(node["ae_title"], "127.0.0.1", node["port"])
        result = send_files(files, to, "DEMO", lambda _meta: None)
        self._console.print(
            f"The demo sent {result.stored} instances to {to.ae_title} on port {to.port}."
        )
        studies = {
            read_keywords(path, ("StudyInstanceUID",))["StudyInstanceUID"] for path, _ in files
        }
        deliveries = self._wait(lambda: _finished(api, studies), _DELIVERED_SECONDS)
        if deliveries is None:
            self._console.print("They are still on their way: crossdock deliveries list")
        else:
            self._show(gateway, deliveries)

    def _show(self, gateway: dict[str, Any], deliveries: Sequence[dict[str, Any]]) -> None:
        table = Table(title="What arrived where", title_justify="left")
        for column in ("target", "state", "instances", "study"):
            table.add_column(column, overflow="fold")
        for row in deliveries:
            count = f"{row['delivered'] + row['warnings']} of {row['instances']}"
            table.add_row(row["target"], row["state"], count, row["study_instance_uid"])
        self._console.print(table)
        paths = [target["path"] for target in gateway["targets"] if target["name"] == demo.TARGET]
        for path in paths:
            files = sum(1 for _ in Path(path).rglob("*.dcm"))
            self._console.print(f"{path} now holds {files} files.", markup=False)


def _finished(api: httpx.Client, studies: set[str]) -> list[dict[str, Any]] | None:
    """Return the newest delivery of every study once all of them are final, None before."""
    newest: list[dict[str, Any]] = []
    for study in sorted(studies):
        rows = api.get("/api/v1/deliveries", params={"study": study, "limit": 10}).json()["items"]
        if not rows or any(row["state"] == "waiting" for row in rows):
            return None
        newest.append(rows[0])
    return newest
