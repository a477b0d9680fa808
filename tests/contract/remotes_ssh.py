"""The peers of sftp and rsync targets: OpenSSH's own server, and one that misbehaves."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.remotes import Connected, Secretive, make_target, speaking
from crossdock.config.targets import Target
from crossdock.protocols import Outgoing
from servers.asyncssh_server import Sftp, asyncssh_server
from servers.sshd import has_rsync, make_key, sshd


PASSWORD = "not-a-word-that-may-show-7Ue"
_WRAPPER = """\
#!/bin/sh
# Runs what rsync asks for the first time, and cuts the connection the second.
echo >> "$0.count"
[ "$(wc -l < "$0.count")" -le 1 ] || kill -9 "$PPID"
exec $SSH_ORIGINAL_COMMAND
"""


class SshRemote(Secretive, Connected):
    """A directory on a host that is this one, behind a real sshd."""

    type = ""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.path = directory / "remote"
        self.path.mkdir()
        self.stack.enter_context(_data_in(directory / "data"))
        self.sshd = self.stack.enter_context(sshd(directory / "sshd"))
        self.secrets = (PASSWORD, self.sshd.key.read_text().splitlines()[2])

    def target(self, **changes: object) -> Target:
        settings = self.sshd.settings(password=PASSWORD, path=str(self.path))
        return make_target({"type": self.type, **settings, **changes})

    def files(self) -> list[Path]:
        return sorted(
            path
            for path in self.path.rglob("*")
            if path.is_file() and not path.parent.name.startswith(".crossdock-partial")
        )

    def absent(self) -> Target:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        return self.target(port=port)

    def misnamed(self) -> Target:
        return self.target(path=str(self.directory / "nowhere"))

    def unauthorised(self) -> Target:
        return self.target(key=make_key(self.directory / "other").read_text())

    def hanging(self) -> Target:
        port = self.stack.enter_context(speaking(b""))
        return self.target(port=port, connect_timeout=1, timeout=1)


class RsyncRemote(SshRemote):
    """A host that has rsync."""

    type = "rsync"

    def __init__(self, directory: Path) -> None:
        has_rsync()
        super().__init__(directory)

    def refusing(self, outgoing: Outgoing) -> Target:
        instance = outgoing.instance
        folder = self.path / f"{instance.number}" / f"{instance.sop_instance_uid}.dcm"
        (folder / "not empty").mkdir(parents=True)
        return self.target(naming="{InstanceNumber}/{SOPInstanceUID}.dcm")

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        wrapper = self.directory / "wrapper"
        wrapper.write_text(_WRAPPER)
        wrapper.chmod(0o755)
        peer = self.stack.enter_context(sshd(self.directory / "cut", command=f"exec {wrapper}"))
        settings = peer.settings(type="rsync", path=str(self.path), batch=after)
        return make_target(settings), lambda _number: None


class SftpRemote(SshRemote):
    """An SFTP server."""

    type = "sftp"

    def refusing(self, outgoing: Outgoing) -> Target:
        (self.path / f"{outgoing.instance.number}").touch()
        return self.target(naming="{InstanceNumber}/{SOPInstanceUID}.dcm")

    def breaking(self, after: int) -> tuple[Target, Callable[[int], None]]:
        def rename(server: Sftp, path: str) -> None:
            if int(Path(path).parent.name) > after:
                server.break_off()

        account = ("someone", PASSWORD)
        cut = type("Cut", (Sftp,), {"on_rename": rename})
        peer = asyncssh_server(account, cut)
        port, host_key = self.stack.enter_context(peer)
        target = self.target(
            port=port,
            user=account[0],
            key=None,
            host_key={"pinned": [host_key]},
            naming="{InstanceNumber}/{SOPInstanceUID}.dcm",
        )
        return target, lambda _number: None


@contextmanager
def _data_in(directory: Path) -> Iterator[None]:
    """Have what adapters keep on this machine go to a directory."""
    before = os.environ.get("CROSSDOCK_DATA")
    os.environ["CROSSDOCK_DATA"] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ["CROSSDOCK_DATA"]
        else:
            os.environ["CROSSDOCK_DATA"] = before
