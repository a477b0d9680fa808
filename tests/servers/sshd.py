"""A real OpenSSH server: private port, host key and authorised key, for the user of the tests."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ports import free_port
from servers import require
from servers.dcmtk import listens
from waiting import until


_ATTEMPTS = 5
_SETTINGS = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
PidFile none
AuthorizedKeysFile {authorised}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
"""
_SFTP = "Subsystem sftp internal-sftp\n"


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server: who may log in with which key, and what its own key is."""

    port: int
    user: str
    key: Path
    host_key: Path

    def settings(self, **changes: object) -> dict[str, object]:
        """Return the settings of a target that logs in there."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "key": self.key.read_text(),
            "host_key": {"pinned": [public(self.host_key)]},
            **changes,
        }


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair, unless it is there already; return the private key's file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [require("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def public(key: Path) -> str:
    """Return the public key of a private key's file."""
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


def fingerprint(key: Path) -> str:
    """Return the SHA256 fingerprint of a key, as ssh-keygen tells it."""
    command = [require("ssh-keygen"), "-lf", str(key)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]


@contextmanager
def sshd(
    directory: Path, *settings: str, command: str = "", subsystem: bool = True
) -> Iterator[Sshd]:
    """Run sshd on a free port; ``command`` is run in place of whatever a client asks for.

    Without ``subsystem`` the settings say themselves what SFTP is.
    """
    program = require("sshd")
    directory.mkdir(parents=True, exist_ok=True)
    host_key, key = make_key(directory / "host_key"), make_key(directory / "key")
    authorised = directory / "authorised"
    quoted = command.replace('"', '\\"')
    authorised.write_text((f'command="{quoted}" ' if command else "") + public(key) + "\n")
    _make_place_for_privilege_separation()
    for _ in range(_ATTEMPTS):
        port = free_port()
        configuration = directory / "sshd_config"
        text = _SETTINGS.format(port=port, host_key=host_key, authorised=authorised)
        text += (_SFTP if subsystem else "") + "\n".join(settings) + "\n"
        configuration.write_text(text)
        arguments = [program, "-D", "-e", "-f", str(configuration)]
        with (directory / "log").open("ab") as log, subprocess.Popen(arguments, stderr=log) as own:
            until(partial(_ready, own, port), what="sshd listens")
            if own.poll() is None:
                try:
                    yield Sshd(port, getpass.getuser(), key, host_key)
                finally:
                    own.terminate()
                return
    pytest.fail(f"sshd does not start: {(directory / 'log').read_text()[-2000:]}")


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    return process.poll() is not None or listens(port)


def _make_place_for_privilege_separation() -> None:
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def has_rsync() -> str:
    """Return the path of rsync, which both sides need."""
    require("ssh")
    return shutil.which("rsync") or require("rsync")
