"""A whole gateway under measurement: ``crossdock up``, asked about from outside."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from processes import Server, wait_for


SERVICES = ("receiver", "router", "dispatcher", "tester", "config-api")
_DEADLINE = 900.0


class Gateway:
    """One data directory with its configuration; the broker is embedded if no URL is given."""

    def __init__(self, data: Path, document: Mapping[str, Any], broker: str) -> None:
        self.data = data
        self.broker = broker or f"filesystem://{data / 'broker'}"
        self._file = data.parent / "gateway.yaml"
        self._file.write_text(yaml.safe_dump(dict(document)))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it until the block ends; it has its configuration when the block begins."""
        for said in (self.data / "run").glob("*.json"):
            said.unlink()
        command = [sys.executable, "-m", "crossdock.cli.main", "up", "--data", self.data]
        process = subprocess.Popen(
            list(map(str, [*command, "--http", "127.0.0.1:0", "--config", self._file])),
            env={
                "PATH": "/usr/bin:/bin",
                "CROSSDOCK_BROKER": self.broker,
                "CROSSDOCK_LOG": "error",
            },
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(self._configured, _DEADLINE, "its configuration")
            self.wait_ready()
            yield
        finally:
            process.terminate()
            process.wait(60)

    def _configured(self) -> bool:
        answer = self.api("GET", "/api/v1/store-nodes")
        return answer is not None and bool(answer.json()["items"])

    def wait_ready(self) -> None:
        """Wait until every service has the configuration in force."""
        wait_for(lambda: self.api("GET", "/readyz") is not None, _DEADLINE, "ready")

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response | None:
        """Return config-api's answer, None if that is no success."""
        try:
            address = json.loads((self.data / "run/config-api.json").read_text())["http"]
            answer = httpx.request(method, f"http://{address}{path}", json=body, timeout=60.0)
        except (OSError, httpx.TransportError):
            return None
        return answer if answer.is_success else None

    def services(self) -> dict[str, Server]:
        """Return the running services by name."""
        said = {name: (self.data / f"run/{name}.json").read_text() for name in SERVICES}
        return {name: Server(json.loads(text)["pid"], 0) for name, text in said.items()}


def series_of_their_own(files: Sequence[Path], directory: Path) -> list[Path]:
    """Return copies of files, each of a series of its own, so that each becomes a parcel."""
    made = []
    for number, file in enumerate(files):
        copy = directory / f"{number}.dcm"
        content = file.read_bytes()
        copy.write_bytes(_with_series(content, number))
        made.append(copy)
    return made


def _with_series(content: bytes, number: int) -> bytes:
    """Return a file whose SeriesInstanceUID (0020,000E), explicit little endian, ends otherwise."""
    start = content.index(b"\x20\0\x0e\0UI") + 8
    length = int.from_bytes(content[start - 2 : start], "little")
    tail = f"{number:05}".encode()
    end = start + length - 1  # a null byte may pad it
    return content[: end - len(tail)] + tail + content[end:]
