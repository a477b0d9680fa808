"""A real S3 store of our own, SeaweedFS: private ports, private directory, several users."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
from botocore.config import Config

from ports import free_port
from servers import require
from servers.certificates import Authority
from waiting import until


ADMIN = ("adminkey", "admin-s3cret")
WRITER = ("writerkey", "writer-s3cret")
READER = ("readerkey", "reader-s3cret")
REGION = "us-east-1"

_ATTEMPTS = 3
_ACTIONS = {
    ADMIN: ["Admin", "Read", "List", "Tagging", "Write"],
    WRITER: ["Read", "List", "Tagging", "Write"],
    READER: ["Read", "List"],
}


class SeaweedFS:
    """A running store: HTTP at ``url``, HTTPS at ``https_url`` with a certificate of ``ca``."""

    def __init__(self, directory: Path) -> None:
        self._program = require("weed", str(Path(sys.executable).parent))
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        authority = Authority(directory / "tls")
        self._issued = authority.issue("store", alternative="DNS:localhost,IP:127.0.0.1")
        self.ca = authority.certificate
        self.port = self.https_port = 0
        identities = [
            {
                "name": key,
                "credentials": [{"accessKey": key, "secretKey": secret}],
                "actions": actions,
            }
            for (key, secret), actions in _ACTIONS.items()
        ]
        # Each bucket has volumes of its own: one is enough, and not the seven that it would make.
        (directory / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        (directory / "s3.json").write_text(json.dumps({"identities": identities}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def https_url(self) -> str:
        return f"https://127.0.0.1:{self.https_port}"

    def start(self) -> None:
        """Run it; it cannot bind port 0, so other ports are tried if that fails."""
        for _ in range(_ATTEMPTS):
            self.port, self.https_port = free_port(), free_port()
            self._process = self._spawn()
            until(lambda: self._answers() or self._ended(), what="SeaweedFS")
            if not self._ended():
                return
        pytest.fail((self._directory / "log").read_text()[-2000:])

    def kill(self) -> None:
        """End it as a power cut would: asked politely it takes half a minute."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(60)

    def client(self, user: tuple[str, str] = ADMIN) -> Any:
        """Return a boto3 client of a user."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=user[0],
            aws_secret_access_key=user[1],
            config=Config(
                s3={"addressing_style": "path"}, connect_timeout=5, retries={"max_attempts": 1}
            ),
        )

    def bucket(self) -> str:
        """Make a bucket with nothing in it and return its name."""
        name = f"bucket-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2.0).status_code == 200
        except httpx.TransportError:
            return False

    def _spawn(self) -> subprocess.Popen[bytes]:
        home = self._directory
        (home / "data").mkdir(exist_ok=True)
        options = {
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "dir": home / "data",
            "master.port": free_port(),
            "master.port.grpc": free_port(),
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 256,
            "volume.port": free_port(),
            "volume.port.grpc": free_port(),
            "volume.max": 1000,
            "filer": "true",
            "filer.port": free_port(),
            "filer.port.grpc": free_port(),
            "filer.localSocket": home / "filer.sock",
            "s3": "true",
            "s3.port": self.port,
            "s3.port.grpc": free_port(),
            "s3.port.https": self.https_port,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.localSocket": home / "s3.sock",
            "s3.cert.file": self._issued.certificate,
            "s3.key.file": self._issued.key,
            "s3.config": home / "s3.json",
            "s3.iam": "false",
            "s3.autoCreateBucket": "false",
        }
        command = [self._program, "server", *(f"-{name}={each}" for name, each in options.items())]
        environment = {**os.environ, "HOME": str(home), "WEED_S3_SSE_KEY": "a key for tests"}
        with (home / "log").open("ab") as log:
            return subprocess.Popen(
                command, env=environment, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


@contextmanager
def seaweedfs() -> Iterator[SeaweedFS]:
    """Run a store for as long as the block lasts."""
    directory = Path(tempfile.mkdtemp(prefix="crossdock-s3-"))
    server = None
    try:
        server = SeaweedFS(directory)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)


@cache
def shared_seaweedfs() -> SeaweedFS:
    """Return the store that all tests of this process share, each with a bucket of its own."""
    running = seaweedfs()
    server = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    return server
