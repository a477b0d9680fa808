"""SeaweedFS as a remote, and a relay before it where a store must misbehave."""

from collections.abc import Callable
from pathlib import Path

from contract.remotes import Connected, Secretive, make_target, speaking
from crossdock.config.targets import Target
from crossdock.protocols import Outgoing
from ports import free_port
from servers.relay import Reply, Request, Rule, relay
from servers.seaweedfs import WRITER, shared_seaweedfs


class S3Remote(Secretive, Connected):
    """A bucket of its own in SeaweedFS."""

    secrets = (WRITER[1], "not the s3cret")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.store = shared_seaweedfs()
        self.bucket = self.store.bucket()
        # Made now, for a test may change the environment that a client is made of.
        self.stack.callback(self.store.client().delete_bucket, Bucket=self.bucket)
        self._fetched = directory / "fetched"

    def target(self, **changes: object) -> Target:
        return make_target(
            {
                "type": "s3",
                "endpoint": self.store.url,
                "bucket": self.bucket,
                "access_key": WRITER[0],
                "secret_key": WRITER[1],
                "connect_timeout": 5,
                "timeout": 20,
                **changes,
            }
        )

    def listed(self) -> list[str]:
        """Return the keys of all objects."""
        pages = self.store.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def uploads(self) -> list[str]:
        """Return the keys of uploads in parts that nobody has ended."""
        answer = self.store.client().list_multipart_uploads(Bucket=self.bucket)
        return [each["Key"] for each in answer.get("Uploads", ())]

    def files(self) -> list[Path]:
        client, paths = self.store.client(), []
        for key in self.listed():
            path = self._fetched / key
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                body = client.get_object(Bucket=self.bucket, Key=key)["Body"]
                file.writelines(body.iter_chunks(1024 * 1024))
            paths.append(path)
        return paths

    def absent(self) -> Target:
        return self.target(endpoint=f"http://127.0.0.1:{free_port()}")

    def misnamed(self) -> Target:
        return self.target(bucket="there-is-none")

    def unauthorised(self) -> Target:
        return self.target(secret_key="not the s3cret")

    def hanging(self) -> Target:
        port = self.stack.enter_context(speaking(b""))
        return self.target(endpoint=f"http://127.0.0.1:{port}", timeout=0.5)

    def refusing(self, outgoing: Outgoing) -> Target:
        uid = outgoing.instance.sop_instance_uid

        def rule(request: Request) -> Reply | None:
            refused = request.method == "PUT" and uid in request.path
            return Reply(400, "EntityTooLarge") if refused else None

        return self.through(rule)

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        seen: list[str] = []

        def rule(request: Request) -> str | None:
            if request.method == "PUT" and request.path not in seen:
                seen.append(request.path)
            return "cut" if len(seen) > after else None

        return self.through(rule, transfers=1), lambda _number: None

    def through(self, rule: Rule, **changes: object) -> Target:
        """Return settings that reach the store through a relay."""
        running = self.stack.enter_context(relay(self.store.url, rule))
        return self.target(endpoint=running.url, **changes)
