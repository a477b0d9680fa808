"""Services as processes of their own, used through the command line."""

import json
import subprocess
import sys
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

import launching
from crossdock.cli.main import app
from waiting import until


class Machine:
    """The processes of one machine, sharing a data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log = data.parent / "log"
        self.environment = {"CROSSDOCK_DATA": str(data), "CROSSDOCK_HTTP": "127.0.0.1:0"}
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, **environment: str) -> subprocess.Popen[bytes]:
        chosen = self.environment | environment
        process = launching.start(module, log=self.log, environment=chosen)
        self.processes.append(process)
        return process

    def address(self, service: str) -> str:
        """The address of a service, once it has one."""
        file = self.data / "run" / f"{service}.json"
        until(file.is_file)
        return f"http://{json.loads(file.read_text())['http']}"

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> Result:
        """Run `crossdock`; the API is this machine's."""
        url = self.address("config-api")
        return crossdock(*arguments, stdin=stdin, CROSSDOCK_API=url, **environment)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def crossdock(*arguments: str, stdin: str = "", **environment: str) -> Result:
    wide = {"COLUMNS": "200", "CROSSDOCK_API_TOKEN": ""}
    return CliRunner().invoke(app, arguments, input=stdin, env=wide | environment)


def dispatcher(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `crossdock dispatcher` to its end, as a process of its own."""
    chosen = {"CROSSDOCK_DATA": str(data), "COLUMNS": "200", **environment}
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli.services", "dispatcher", *arguments],
        env=launching.settings(chosen),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
