"""docker-compose.yml as tests read it, and what belongs to it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml


ROOT = Path(__file__).parents[1]
RABBITMQ = ROOT / "deploy/rabbitmq"
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


def document() -> dict[str, Any]:
    """Return the file with the defaults of its variables."""
    loaded: dict[str, Any] = _interpolated(
        yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    )
    return loaded


def _interpolated(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _interpolated(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_interpolated(each) for each in value]
    return _VARIABLE.sub(r"\1", value) if isinstance(value, str) else value


def ours(services: dict[str, Any]) -> dict[str, Any]:
    """Return the services that run Crossdock by a command of its own."""
    return {
        name: service
        for name, service in services.items()
        if service["image"].startswith("crossdock:") and "command" in service
    }


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return what a service mounts: where in the container → volume or path."""
    split = [volume.split(":") for volume in service.get("volumes", ())]
    return {parts[1]: parts[0] for parts in split}


def make_secrets(directory: Path) -> Path:
    """Make the secrets as a user does."""
    subprocess.run([ROOT / "deploy/make-secrets", directory], check=True)
    return directory


def rabbitmq_settings(directory: Path, secrets: Path) -> str:
    """Return the broker's rabbitmq.conf, with its definitions and the secret users at hand."""
    places = directory / "definitions.d"
    places.mkdir(parents=True)
    shutil.copy(RABBITMQ / "definitions.json", places / "10-topology.json")
    shutil.copy(secrets / "rabbitmq-users.json", places / "20-users.json")
    text = (RABBITMQ / "rabbitmq.conf").read_text()
    assert "/etc/rabbitmq/definitions.d" in text
    return text.replace("/etc/rabbitmq/definitions.d", str(places))


def base_image() -> str:
    """Return the image that ours is built from."""
    found = re.search(r"^FROM (\S+)", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    assert found
    return found[1]
