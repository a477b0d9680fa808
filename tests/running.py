"""A whole Crossdock as a user runs it: ``crossdock up`` in a process of its own."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

import launching
from waiting import until


TOLD = 4.0
"""Seconds in which a change is in force because services are told; they ask every 5."""


class Running:
    """One running ``crossdock up``: its API, its processes, its log."""

    def __init__(
        self,
        data: Path,
        environment: dict[str, str],
        options: tuple[str, ...],
        before: Sequence[str] = (),
    ) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        self.api = httpx.Client(timeout=60)
        self._environment = environment
        self._options = ("--http", "127.0.0.1:0", *options)
        self._before = before
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = ("up", "--data", str(self.data), *self._options)
        return launching.start(
            launching.PROGRAM,
            *command,
            log=self.log,
            environment=self._environment,
            before=self._before,
        )

    def address(self) -> str | None:
        """Where config-api serves HTTP, None while it does not."""
        said = self.said("config-api")
        return None if said is None else str(said["http"])

    def said(self, service: str) -> dict[str, Any] | None:
        try:
            said: dict[str, Any] = json.loads((self.data / f"run/{service}.json").read_text())
        except (OSError, ValueError):
            return None
        return said

    def ready(self) -> bool:
        """Whether ``/readyz`` answers 200."""
        try:
            self._aim()
            return self.api.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _aim(self) -> None:
        """Speak to config-api where it is now: started again, it has another port."""
        address = self.address()
        if address is None:
            raise httpx.ConnectError("config-api is not running")
        self.api.base_url = httpx.URL(f"http://{address}")

    def wait_ready(self) -> None:
        until(lambda: self.ready() or self._ended(), what="ready")
        assert self.process.poll() is None, self.log.read_text()[-3000:]

    def wait_up(self, gateway: dict[str, Any] | None) -> None:
        """Wait until it has taken its gateway.yaml in: it is ready before that, too."""
        nodes = [node["name"] for node in (gateway or {}).get("store_nodes", ())]
        until(lambda: self._ended() or self._has(nodes), what="its configuration")
        self.wait_ready()

    def _has(self, nodes: list[str]) -> bool:
        if not self.ready():
            return False
        answer = self.api.get("/api/v1/gateway")
        known = answer.json().get("store_nodes", ())
        return not answer.is_success or {*nodes} <= {node["name"] for node in known}

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self, service: str) -> int:
        """Kill a service with SIGKILL; return the process that is no more."""
        said = until(lambda: self.said(service), what=f"{service} runs")
        os.kill(said["pid"], signal.SIGKILL)
        return int(said["pid"])

    def stop(self) -> int:
        """Ask it to end, as an operator does; return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=60)

    def put_gateway(self, document: dict[str, Any]) -> httpx.Response:
        return self.api.put("/api/v1/gateway", json=document)

    def deliveries(self, **query: str | int) -> list[dict[str, Any]]:
        """The ledger's deliveries; none while config-api is away."""
        return self._items("deliveries", query)

    def parcels(self, **query: str | int) -> list[dict[str, Any]]:
        """The ledger's parcels; none while config-api is away."""
        return self._items("parcels", query)

    def _items(self, kind: str, query: dict[str, str | int]) -> list[dict[str, Any]]:
        try:
            self._aim()
            answer = self.api.get(f"/api/v1/{kind}", params={"limit": 500, **query})
        except httpx.TransportError:
            return []
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@contextmanager
def running(
    data: Path,
    gateway: dict[str, Any] | None = None,
    broker: str | None = None,
    *options: str,
    before: Sequence[str] = (),
    **environment: str,
) -> Iterator[Running]:
    """Run Crossdock on ``data`` until the block ends; it is ready when the block begins.

    ``before`` is a program that runs it in its own place.
    """
    if gateway is not None:
        file = data.parent / "gateway.yaml"
        file.write_text(yaml.safe_dump(gateway))
        options = ("--config", str(file), *options)
    if broker is not None:
        environment["CROSSDOCK_BROKER"] = broker
    crossdock = Running(data, {"CROSSDOCK_RETRY_SCALE": "0.02", **environment}, options, before)
    try:
        crossdock.wait_up(gateway)
        yield crossdock
    finally:
        crossdock.stop()
        crossdock.api.close()
