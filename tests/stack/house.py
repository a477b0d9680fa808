"""The whole of docker-compose.yml in an engine, with targets to send to, and what they got."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config

import compose
from ports import free_port
from servers import require
from stack.engine import Engine
from waiting import until


KEY, SECRET, BUCKET = "stackkey", "stack-s3cret", "studies"
_UP_SECONDS = 240
_PROJECT = "crossdock-test"


@dataclass
class House:
    """A running stack. ``api`` has the token; a port is that of this machine's loopback."""

    engine: Engine
    directory: Path
    ports: dict[str, int]
    api: httpx.Client

    @property
    def orthanc(self) -> str:
        return f"http://127.0.0.1:{self.ports['CROSSDOCK_ORTHANC']}"

    @property
    def dicom_port(self) -> int:
        return self.ports["CROSSDOCK_DICOM_PORT"]

    def compose(self, *arguments: object, seconds: float = 60, check: bool = True) -> str:
        """Run `docker compose` on the stack."""
        files = [compose.ROOT / "docker-compose.yml", compose.ROOT / "tests/stack/compose.yaml"]
        options = [word for file in files for word in ("--file", file)]
        place = ("--project-directory", compose.ROOT, "--project-name", _PROJECT)
        profile = ("--profile", "demo", "--profile", "cli")
        return self.engine.docker(
            "compose", *place, *options, *profile, *arguments, seconds=seconds, check=check
        )

    def up(self, *services: str) -> None:
        """Start services, all but the command line by default, and wait for none of them."""
        wanted = services or [name for name in self.services() if name != "cli"]
        self.compose("up", "--detach", "--no-build", *wanted, seconds=_UP_SECONDS)

    def services(self) -> list[str]:
        return self.compose("config", "--services").split()

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what Compose says of each service's container."""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        said = [json.loads(line) for line in lines if line.startswith("{")]
        return {each["Service"]: each for each in said}

    def healthy(self, *names: str) -> bool:
        containers = self.containers()
        return all(containers.get(name, {}).get("Health") == "healthy" for name in names)

    def problems(self) -> dict[str, str]:
        """Return what keeps the whole from being ready, as config-api says."""
        try:
            said: dict[str, str] = self.api.get("/readyz").json()["problems"]
        except (httpx.TransportError, ValueError) as error:
            return {"config-api": type(error).__name__}
        return said

    def wait_ready(self) -> None:
        until(lambda: not self.problems(), _UP_SECONDS, "the overview is green", step=0.5)

    def kill_processes(self, service: str) -> None:
        """Kill what runs in a container, so that the engine has to start it again."""
        self.compose("exec", "-T", service, "sh", "-c", "kill -9 -1", check=False)

    def cli(self, *arguments: object) -> str:
        """Run `crossdock` beside the services."""
        return self.compose("run", "--rm", "-T", "cli", *arguments, seconds=90)

    def report(self) -> str:
        """Return what somebody wants to know when a test has failed."""
        query = {"state": "waiting", "limit": 50}
        try:
            waiting = self.api.get("/api/v1/deliveries", params=query).text
        except httpx.TransportError as error:
            waiting = type(error).__name__
        said = self.compose("logs", "--no-color", "--tail", "60", check=False)
        return f"{self.problems()}\n{waiting}\n{said}"

    def deliveries(self, study: str) -> list[dict[str, Any]]:
        query = {"study": study, "limit": 500}
        items: list[dict[str, Any]] = self.api.get("/api/v1/deliveries", params=query).json()[
            "items"
        ]
        return items

    def in_orthanc(self, study: str) -> set[str]:
        """Return the instances of a study that the DICOM target has."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study}, "Expand": True}
        found = httpx.post(f"{self.orthanc}/tools/find", json=query, timeout=60).json()
        return {each["MainDicomTags"]["SOPInstanceUID"] for each in found}

    def in_folder(self, place: str, to: Path) -> list[Path]:
        """Copy a folder target's directory out of its volume and return its files."""
        self.compose("cp", f"dispatcher-folder:{place}", to)
        return sorted(path for path in to.rglob("*.dcm") if path.is_file())

    def s3(self) -> Any:
        """Return a client of the S3 store."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.ports['TEST_S3']}",
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    def in_bucket(self, to: Path) -> list[Path]:
        """Copy the bucket's instances to files and return them."""
        to.mkdir()
        client, paths = self.s3(), []
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        for number, key in enumerate(key for key in keys if key.endswith(".dcm")):
            path = to / f"{number}.dcm"
            path.write_bytes(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
            paths.append(path)
        return paths


@contextmanager
def house(engine: Engine, directory: Path) -> Iterator[House]:
    """Bring the stack up, empty, and take all of it away at the end."""
    secrets = compose.make_secrets(directory / "secrets")
    published = ("CROSSDOCK_DICOM_PORT", "CROSSDOCK_WEB", "CROSSDOCK_ORTHANC", "TEST_S3")
    ports = {name: free_port() for name in published}
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    users = [
        {
            "name": KEY,
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": actions,
        }
    ]
    (directory / "s3.json").write_text(json.dumps({"identities": users}))
    engine.environment.update(
        {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        | {
            "CROSSDOCK_SECRETS": str(secrets),
            "TEST_WEED": require("weed", str(Path(sys.executable).parent)),
            "TEST_S3_USERS": str(directory / "s3.json"),
        }
    )
    api = httpx.Client(
        base_url=f"http://127.0.0.1:{ports['CROSSDOCK_WEB']}",
        headers={"Authorization": f"Bearer {(secrets / 'api-token').read_text()}"},
        timeout=15.0,
    )
    running = House(engine, directory, ports, api)
    try:
        running.up()
        yield running
    finally:
        api.close()
        running.compose("down", "--volumes", "--timeout", "1", seconds=120, check=False)
