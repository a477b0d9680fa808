"""A cable to a host of its own, which is a network namespace of this machine: cut, or bad."""

import contextlib
import ctypes
import os
import secrets
import subprocess
from collections.abc import Iterator

from servers import require


_CLONE_NEWNET = 0x4000_0000
_RULES = """
table inet cable {{
    chain arriving {{ type filter hook input priority 0; {chance} drop; }}
    chain leaving {{ type filter hook output priority 0; {chance} drop; }}
}}
"""


class Cable:
    """A cable between this machine, at address ``near``, and a host at address ``far``."""

    def __init__(self) -> None:
        self._ip = require("ip")
        name = secrets.token_hex(4)
        self._host, self._plug, self._socket = f"far-{name}", f"a{name}", f"b{name}"
        # RFC 2544 sets these addresses apart for tests of networks.
        network = f"198.18.{secrets.randbelow(256)}.{4 * secrets.randbelow(64)}"
        prefix, _, last = network.rpartition(".")
        self.near, self.far = f"{prefix}.{int(last) + 1}", f"{prefix}.{int(last) + 2}"

    def lay(self) -> None:
        """Make the host and the cable.

        Raises:
            subprocess.CalledProcessError: we may not.
        """
        self._do("netns", "add", self._host)
        peer = ("peer", "name", self._socket, "netns", self._host)
        self._do("link", "add", self._plug, "type", "veth", *peer)
        self._do("addr", "add", f"{self.near}/30", "dev", self._plug)
        self._do("link", "set", self._plug, "up")
        self._do("-n", self._host, "addr", "add", f"{self.far}/30", "dev", self._socket)
        for device in ("lo", self._socket):
            self._do("-n", self._host, "link", "set", device, "up")

    def remove(self) -> None:
        """Take cable and host away; what runs there goes on without a network."""
        for command in (("link", "del", self._plug), ("netns", "del", self._host)):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._do(*command)

    @contextlib.contextmanager
    def unplugged(self) -> Iterator[None]:
        """Have the plug at the far end pulled."""
        self._do("-n", self._host, "link", "set", self._socket, "down")
        try:
            yield
        finally:
            self._do("-n", self._host, "link", "set", self._socket, "up")

    @contextlib.contextmanager
    def losing(self, percent: int) -> Iterator[None]:
        """Let so many of 100 packets get lost, in each direction; 100 is a black hole."""
        nft = [self._ip, "netns", "exec", self._host, require("nft")]
        chance = f"numgen random mod 100 < {percent}" if percent < 100 else ""
        rules = _RULES.format(chance=chance)
        subprocess.run([*nft, "-f", "-"], input=rules, text=True, check=True)
        try:
            yield
        finally:
            subprocess.run([*nft, "delete", "table", "inet", "cable"], check=True)

    @contextlib.contextmanager
    def at_the_far_end(self) -> Iterator[None]:
        """Have sockets, threads and processes that are made in the block belong to the far host."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        far = os.open(f"/run/netns/{self._host}", os.O_RDONLY)
        try:
            _enter(far)
            yield
        finally:
            _enter(own)
            os.close(own)
            os.close(far)

    def _do(self, *arguments: str) -> None:
        subprocess.run([self._ip, *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """Lay a cable for as long as the block lasts."""
    laid = Cable()
    try:
        laid.lay()
        yield laid
    finally:
        laid.remove()


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
