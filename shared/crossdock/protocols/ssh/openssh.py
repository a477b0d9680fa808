"""One connection by OpenSSH's own client, over which programs of ours and of others run.

The connection is a ``ssh`` that runs nothing itself and lets others share it. Password and private
key are in memory only: ``ssh`` reads them through descriptors of this process. When this process
ends, however it ends, the connection does too.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from crossdock.config.targets.ssh import SshTarget
from crossdock.protocols.failures import TargetFailed
from crossdock.protocols.ssh.credentials import Credentials, credentials_of
from crossdock.protocols.ssh.failures import (
    busy,
    misconfigured,
    timed_out,
    unauthorised,
    unreachable,
)
from crossdock.protocols.ssh.opening import set_before
from crossdock.protocols.ssh.programs import Said, plain_environment, program_named
from crossdock.protocols.ssh.trust import ALIAS, Trust, trust_of


ASKPASS = Path(__file__).with_name("askpass")

# Ends ssh when our end of its standard input is closed, by whatever.
_HOLD = '"$0" "$@" < /dev/null & exec 2>&-; read -r _; kill $! 2>&1; wait $! 2>&1'

_END_SECONDS = 5.0
_LONGEST_SOCKET = 80  # characters: the kernel allows 107, and ssh adds some while it makes it

_CONNECTED = re.compile(r"debug1: Connection established")
_SEEN = re.compile(r"debug1: Server host key: (\S+ SHA256:\S+)")
_KNOWN = re.compile(r"debug1: (SSH2_MSG_SERVICE_ACCEPT received|Authentications that can continue)")
_LOGGED_IN = re.compile(r"^Authenticated to .* using \"([^\"]+)\"")
_LISTENS = re.compile(r"mux listener")

_OPTIONS = {
    "AddKeysToAgent": "no",
    "CheckHostIP": "no",
    "ClearAllForwardings": "yes",
    "Compression": "no",
    "ConnectionAttempts": "1",
    "ControlPersist": "no",
    "EscapeChar": "none",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "GSSAPIAuthentication": "no",
    "GlobalKnownHostsFile": "/dev/null",
    "HashKnownHosts": "no",
    "HostbasedAuthentication": "no",
    "IdentitiesOnly": "yes",
    "IdentityAgent": "none",
    "NumberOfPasswordPrompts": "1",
    "PermitLocalCommand": "no",
    "PreferredAuthentications": "publickey,password,keyboard-interactive",
    "RequestTTY": "no",
    "ServerAliveCountMax": "3",
    "TCPKeepAlive": "yes",
    "UpdateHostKeys": "no",
    "VerifyHostKeyDNS": "no",
}


class OpenSsh:
    """A connection that is opened step by step (see ``Opening``), and then shared by programs."""

    def __init__(self, target: SshTarget) -> None:
        self._target = target
        self._place = f"{target.host}:{target.port}"
        self._home = Path(tempfile.mkdtemp(prefix="crossdock-", dir=_short_directory()))
        self._socket = self._home / "s"
        self._descriptors: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._said: Said | None = None
        self._trust: Trust | None = None

    def connect(self) -> str:
        """Reach the server."""
        program = program_named("ssh")
        self._trust = trust_of(self._target)
        command = ["/bin/sh", "-c", _HOLD, program, *self._arguments(self._trust)]
        process = self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._environment(credentials_of(self._target)),
            start_new_session=True,  # without a terminal to ask at
        )
        self._said = Said(set_before(process.stderr))
        self._wait_for(_CONNECTED, self._target.connect_timeout + 1.0)
        return f"connected to {self._place}"

    def verify(self) -> str:
        """Find out that the server is the right one."""
        trust = set_before(self._trust)
        seen = self._wait_for(_SEEN, self._target.timeout)
        self._wait_for(_KNOWN, self._target.timeout)
        if trust.first is not None:
            _, *key = self._known_file().read_text(encoding="utf-8").split()
            trust.remember(" ".join(key))
        return f"{seen}, {trust.words}"

    def authenticate(self) -> str:
        """Log in."""
        way = self._wait_for(_LOGGED_IN, self._target.timeout)
        self._wait_for(_LISTENS, self._target.timeout)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        return f"logged in as {self._target.user} by {way}"

    def sharing(self, *arguments: str) -> list[str]:
        """Return the command of a ``ssh`` that runs something over this connection.

        It never opens one of its own: without this one it fails.
        """
        return [
            program_named("ssh"),
            *("-F", "none", "-S", str(self._socket), "-T", "-a", "-x"),
            *("-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ProxyCommand=exit 1"),
            *arguments,
            "target",
        ]

    def lost(self) -> TargetFailed | None:
        """Return how the connection ended, None while it lives."""
        if self._said is not None and not self._said.over:
            return None
        last = self._said.last_words() if self._said is not None else ""
        if "not responding" in last:
            return timed_out(f"{self._place}: nothing moved for {self._target.timeout:g} s")
        return unreachable(f"{self._place}: {last or 'the connection was lost'}")

    def close(self) -> None:
        """Close the connection. Closing twice is fine."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own: sh and ssh
                process.wait()
        if self._said is not None:
            self._said.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def _arguments(self, trust: Trust) -> list[str]:
        target = self._target
        interval = max(1, int(target.timeout / 3))
        options = _OPTIONS | {
            "BatchMode": "no" if target.password is not None else "yes",
            "ConnectTimeout": str(max(1, round(target.connect_timeout))),
            "KbdInteractiveAuthentication": "no" if target.password is None else "yes",
            "PasswordAuthentication": "no" if target.password is None else "yes",
            "ServerAliveInterval": str(interval),
            "StrictHostKeyChecking": "yes" if trust.first is None else "accept-new",
            "UserKnownHostsFile": str(self._known_file()),
            "Ciphers": "^aes128-gcm@openssh.com",  # the cheapest where the processor has AES
        }
        self._known_file().write_text(trust.known, encoding="utf-8")
        if trust.by_alias:
            options["HostKeyAlias"] = ALIAS
        if trust.fingerprints:
            options["KnownHostsCommand"] = _known_by(trust.fingerprints)
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return [
            *("-F", "none", "-v", "-N", "-M", "-S", str(self._socket), "-T", "-a", "-x"),
            *("-l", target.user, "-p", str(target.port)),
            *words,
            *self._identity(credentials_of(target)),
            target.host,
        ]

    def _identity(self, credentials: Credentials) -> list[str]:
        if credentials.key is None:
            return ["-o", "IdentityFile=none", "-o", "PubkeyAuthentication=no"]
        return ["-i", self._in_memory(credentials.key_file())]

    def _environment(self, credentials: Credentials) -> dict[str, str]:
        environment = plain_environment()
        if credentials.password is None:
            return environment
        if not os.access(ASKPASS, os.X_OK):
            raise misconfigured(f"{ASKPASS} cannot be run", "install Crossdock anew")
        return environment | {
            "SSH_ASKPASS": str(ASKPASS),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": "none",  # what older clients want to see before they ask
            "CROSSDOCK_ASKPASS": self._in_memory(credentials.password.encode() + b"\n"),
        }

    def _in_memory(self, content: bytes) -> str:
        """Return the path of a file that is in memory only, and ends with this process."""
        descriptor = os.memfd_create("crossdock", os.MFD_CLOEXEC)
        self._descriptors.append(descriptor)
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, content)
        return f"/proc/{os.getpid()}/fd/{descriptor}"

    def _known_file(self) -> Path:
        return self._home / "known_hosts"

    def _wait_for(self, sign: re.Pattern[str], seconds: float) -> str:
        """Wait until ssh says something; return the part of it that matters.

        Raises:
            TargetFailed: it says something else instead, or nothing in time.
        """
        said = set_before(self._said)
        found = said.wait_for(sign, seconds)
        if found is not None:
            return found
        if not said.over:
            raise timed_out(f"no answer from {self._place} within {seconds:g} s")
        raise self._failure(said)

    def _failure(self, said: Said) -> TargetFailed:
        """Return why ssh ended before it was logged in."""
        last = said.last_words()
        if "Host key verification failed" in last:
            return set_before(self._trust).refusal(said.found(_SEEN) or "that was shown")
        if "ermission denied" in last or "Too many authentication failures" in last:
            way = re.search(r"\(([a-z,-]+)\)", last)
            offers = f"; it takes {way.group(1)}" if way else ""
            return unauthorised(
                f"permission denied for {self._target.user} at {self._place}{offers}"
            )
        if "no matching" in last:
            advice = "let the server offer algorithms that are not obsolete"
            return misconfigured(f"{self._place} and we have no algorithm in common", advice)
        if "timed out" in last and said.found(_CONNECTED):
            return timed_out(f"no answer from {self._place} in time")
        if "Exceeded MaxStartups" in last or "Not allowed at this time" in last:
            return busy(f"{self._place} takes no more connections")
        return unreachable(f"{self._place}: {last or 'the connection was lost'}")


def _known_by(fingerprints: frozenset[str]) -> str:
    """Return a command that says a host key is known if it has one of the fingerprints."""
    choice = "|".join(sorted(fingerprints))
    script = f'case "$1" in {choice}) echo {ALIAS} "$2" "$3";; esac'
    return f"/bin/sh -c {shlex.quote(script)} sh %f %t %K"


def _short_directory() -> str | None:
    """Return where to put a socket: the usual place, unless its path is too long for one."""
    usual = tempfile.gettempdir()
    return None if len(usual) < _LONGEST_SOCKET - 20 else "/tmp"  # noqa: S108 — made 0700 by mkdtemp
