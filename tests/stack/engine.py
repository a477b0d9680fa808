"""A container engine: the machine's own, or one that the tests start and leave nothing of."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers import require
from waiting import until


_HERE = Path(__file__).parent
_STOP_SECONDS = 30
_BRIDGES = ("docker0", "br-", "veth")


@dataclass(frozen=True)
class Engine:
    """An engine that answers. ``own`` is one that has no images and no way to a registry."""

    environment: dict[str, str]
    own: bool

    def docker(self, *arguments: object, seconds: float = 60, check: bool = True) -> str:
        """Run `docker` and return what it prints; a failure shows all that it said."""
        done = self.run("docker", *arguments, seconds=seconds)
        assert done.returncode == 0 or not check, f"docker {arguments}: {done.stdout[-3000:]}"
        return done.stdout

    def run(
        self, program: str, *arguments: object, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program that speaks to this engine; output and errors are joined."""
        return subprocess.run(  # noqa: PLW1510 — the exit code is for the caller to judge
            [program, *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )

    def has(self, image: str) -> bool:
        return self.run("docker", "image", "inspect", image).returncode == 0


@contextmanager
def engine() -> Iterator[Engine]:
    """Give an engine with Compose, for as long as the block lasts."""
    machine = Engine(dict(os.environ), own=False)
    if shutil.which("docker") and machine.run("docker", "info").returncode == 0:
        yield machine
        return
    with ExitStack() as ending:
        directory = Path(tempfile.mkdtemp(prefix="crossdock-stack-"))
        ending.callback(shutil.rmtree, directory, ignore_errors=True)
        own = Engine(_environment(directory), own=True)
        ending.enter_context(_daemon(directory, own))
        _install_compose(directory)
        yield own


def _environment(directory: Path) -> dict[str, str]:
    """Return the environment in which `docker` speaks to an engine of our own."""
    own = {
        "DOCKER_HOST": f"unix://{directory}/docker.sock",
        "DOCKER_CONFIG": str(directory / "cli"),
        "DOCKER_BUILDKIT": "0",  # Debian's engine has no buildx, and the Dockerfile needs none
        "COMPOSE_BAKE": "false",
    }
    return {name: each for name, each in os.environ.items() if name[:6] != "DOCKER"} | own


@contextmanager
def _daemon(directory: Path, engine: Engine) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("there is no container engine, and only root can start one")
    program, before = require("dockerd"), _links()
    (directory / "daemon.json").write_text(json.dumps(_settings(directory)))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config-file", str(directory / "daemon.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(
            lambda: engine.run("docker", "info").returncode == 0 or process.poll() is not None,
            what="the engine answers",
            step=0.2,
        )
        assert process.poll() is None, (directory / "log").read_text()[-3000:]
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        _clean(directory, before)


def _settings(directory: Path) -> dict[str, object]:
    """Return settings of an engine that touches nothing of the machine's firewall."""
    return {
        "data-root": f"{directory}/data",
        "exec-root": f"{directory}/exec",
        "pidfile": f"{directory}/dockerd.pid",
        "hosts": [f"unix://{directory}/docker.sock"],
        "storage-driver": "overlay2",
        "iptables": False,
        "ip-forward": False,
        "ip-masq": False,
        "bip": "172.29.0.1/24",
        "default-address-pools": [{"base": "172.30.0.0/16", "size": 24}],
    }


def _links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def _clean(directory: Path, before: set[str]) -> None:
    """Remove the bridges that came with the engine, and what it left mounted."""
    for name in _links() - before:
        if name.startswith(_BRIDGES):
            subprocess.run(["ip", "link", "delete", name], check=False)
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    for place in sorted((line.split()[1] for line in mounts), reverse=True):
        if place.startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", place], check=False)


def _install_compose(directory: Path) -> None:
    """Give `docker` its Compose, from PyPI."""
    venv, plugins = directory / "venv", directory / "cli/cli-plugins"
    pip = [str(venv / "bin/python"), "-m", "pip", "-q", "--disable-pip-version-check", "install"]
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run(
        [*pip, "--require-hashes", "-r", _HERE / "requirements.lock"], check=True, timeout=200
    )
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(venv / "bin/docker-compose")
