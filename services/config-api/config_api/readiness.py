"""Asks the other services, of this machine or of others, whether they are ready."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx


_TIMEOUT_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said: ready if there are no problems (name → reason)."""

    service: str
    problems: dict[str, str]


class Neighbours:
    """The services that must be ready for the whole to be; asked live, all at once.

    A name is looked up among the processes of this machine; ``HOST:PORT`` is asked there.
    """

    def __init__(self, run: Path, names: Sequence[str]) -> None:
        self._run = run
        self.names = tuple(names)

    def answers(self, in_force: int | None) -> list[Answer]:
        """Return each service's answer, in the order of their names as configured.

        A service that does not work by revision ``in_force`` of the configuration has a problem.
        """
        if not self.names:
            return []
        with ThreadPoolExecutor(len(self.names)) as pool:
            return list(pool.map(partial(self._ask, in_force), self.names))

    def problems(self, in_force: int | None) -> dict[str, str]:
        """Return every problem of every service, such as ``receiver: store node main`` → why."""
        return {
            (f"{answer.service}: {name}" if name else answer.service): reason
            for answer in self.answers(in_force)
            for name, reason in answer.problems.items()
        }

    def _ask(self, in_force: int | None, service: str) -> Answer:
        host, colon, _ = service.rpartition(":")
        if colon:
            return Answer(host, _ask_http(service, in_force))
        try:
            announced = json.loads((self._run / f"{service}.json").read_bytes())
            address, process = str(announced["http"]), int(announced["pid"])
        except FileNotFoundError:
            return Answer(service, {"": "is not running"})
        except (OSError, ValueError, KeyError, TypeError):
            return Answer(service, {"": "its address cannot be read"})
        if not _alive(process):
            return Answer(service, {"": "is not running"})
        return Answer(service, _ask_http(address, in_force))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ask_http(address: str, in_force: int | None) -> dict[str, str]:
    host, _, port = address.rpartition(":")
    local = "127.0.0.1" if host in ("0.0.0.0", "") else host.replace("[::]", "[::1]")  # noqa: S104 — compared, not bound
    try:
        with httpx.Client(trust_env=False, timeout=_TIMEOUT_SECONDS) as client:
            said = client.get(f"http://{local}:{port}/readyz").json()
        problems = {str(name): str(reason) for name, reason in said["problems"].items()}
        revision = said.get("revision")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
        return {"": "does not answer"}
    if None not in (revision, in_force) and revision != in_force:
        problems["configuration"] = f"works by revision {revision}; {in_force} is in force"
    return problems
