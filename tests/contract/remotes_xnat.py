"""A small XNAT as a remote, and a relay before it where it must misbehave."""

from collections.abc import Callable
from pathlib import Path

from contract.remotes import Connected, Secretive, make_target, speaking
from crossdock.config.targets import Target
from crossdock.protocols import Outgoing
from ports import free_port
from servers.relay import Request, Rule, relay
from servers.xnat import xnat
from servers.xnat_state import PASSWORD, PROJECT, USER


IMPORT = "/data/services/import"


class XnatRemote(Secretive, Connected):
    """A project of a server of its own."""

    secrets = (PASSWORD, "not the s3cret")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = self.stack.enter_context(xnat(directory / "xnat"))

    def target(self, **changes: object) -> Target:
        return make_target(
            {
                "type": "xnat",
                "url": self.server.url,
                "user": USER,
                "password": PASSWORD,
                "project": PROJECT,
                "connect_timeout": 5,
                "timeout": 20,
                **changes,
            }
        )

    def files(self) -> list[Path]:
        return self.server.files()

    def absent(self) -> Target:
        return self.target(url=f"http://127.0.0.1:{free_port()}")

    def misnamed(self) -> Target:
        return self.target(project="LIVER")

    def unauthorised(self) -> Target:
        return self.target(password="not the s3cret")

    def hanging(self) -> Target:
        port = self.stack.enter_context(speaking(b""))
        return self.target(url=f"http://127.0.0.1:{port}", timeout=0.5)

    def refusing(self, outgoing: Outgoing) -> Target:
        uid = outgoing.instance.sop_instance_uid
        self.server.filter = lambda ds: ds.SOPInstanceUID != uid
        return self.target()

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        seen: list[str] = []

        def rule(request: Request) -> str | None:
            if request.path.startswith(IMPORT):
                seen.append(request.path)
            return "cut" if len(seen) > after else None

        return self.through(rule, transfers=1), lambda _number: None

    def through(self, rule: Rule, **changes: object) -> Target:
        """Return settings that reach the server through a relay."""
        running = self.stack.enter_context(relay(self.server.url, rule))
        return self.target(url=running.url, **changes)
