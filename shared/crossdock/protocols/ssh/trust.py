"""Host keys: whom a target's server may be, in the one form that both ways to speak SSH take.

What is trusted at first sight is kept in ``ssh/`` below the data directory, a file per server;
removing the file forgets it.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from crossdock.config.targets.ssh import HostKey, SshTarget
from crossdock.errors import ErrorKind
from crossdock.protocols.failures import TargetFailed
from crossdock.protocols.ssh.failures import misconfigured
from crossdock.settings import from_environment


ALIAS = "crossdock-target"
"""The host's name in the texts that we make ourselves."""

_SYSTEM = Path("/etc/ssh/ssh_known_hosts")
_LONGEST = 16 * 1024 * 1024  # bytes of a known_hosts file


@dataclass(frozen=True, slots=True)
class Trust:
    """Which keys a server may show.

    ``known`` is the text of a known_hosts file; its names are ``ALIAS`` if ``by_alias`` is true.
    ``first`` is where the key of a server that was never seen is to be kept, where that is wanted.
    """

    known: str
    by_alias: bool
    words: str
    otherwise: str
    fingerprints: frozenset[str] = frozenset()
    first: Path | None = None

    def remember(self, key: str) -> None:
        """Keep the public key that was seen first, unless another one was faster.

        Raises:
            TargetFailed: it cannot be kept, or another key was seen first.
        """
        if self.first is None:
            return
        try:
            kept = _keep(self.first, key)
        except OSError as error:
            detail = f"the host key seen first cannot be kept: {error.strerror}"
            raise misconfigured(detail, f"let the dispatcher write to {self.first}") from error
        if kept != key:
            raise self.refusal(fingerprint(key))

    def refusal(self, seen: str) -> TargetFailed:
        """Return that a server showed a key that it may not have; ``seen`` is its fingerprint."""
        detail = f"the host key {seen} is not {self.otherwise}"
        advice = (
            "ask the server's administrator for `ssh-keygen -lf` of its host key: if it is this "
            "one, pin it (host_key: {pinned: [SHA256:…]}); if not, somebody stands in between"
        )
        return TargetFailed(ErrorKind.MISCONFIGURED, detail, advice)


def trust_of(target: SshTarget) -> Trust:
    """Return whom a target's server may be.

    Raises:
        TargetFailed: what says so cannot be read.
    """
    way = target.host_key
    if way is None:
        own = "in the known_hosts of the dispatcher's user or machine"
        return Trust(_default_known(), by_alias=False, words="as known_hosts says", otherwise=own)
    if way.known_hosts is not None:
        text = _checked(_read(Path(way.known_hosts)), way.known_hosts)
        return Trust(
            text,
            by_alias=False,
            words=f"as {way.known_hosts} says",
            otherwise=f"in {way.known_hosts}",
        )
    return _first_sight(target) if way.trust_on_first_use else _pinned(way)


def fingerprint(key: str) -> str:
    """Return a public key's type and SHA256 fingerprint."""
    public = asyncssh.import_public_key(key)
    return f"{public.get_algorithm()} {public.get_fingerprint()}"


def _pinned(way: HostKey) -> Trust:
    keys = [pin for pin in way.pinned if not pin.startswith("SHA256:")]
    text = "".join(f"{ALIAS} {' '.join(key.split()[:2])}\n" for key in keys)
    return Trust(
        _checked(text, "host_key.pinned"),
        by_alias=True,
        words="as pinned",
        otherwise="the pinned one",
        fingerprints=frozenset(way.pinned) - frozenset(keys),
    )


def _first_sight(target: SshTarget) -> Trust:
    place = from_environment().data / "ssh" / f"{target.host}-{target.port}.pub"
    otherwise = "the one that was trusted at first sight"
    try:
        kind, key, when = place.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        now = "trusted now, at first sight"
        return Trust("", by_alias=True, words=now, otherwise=otherwise, first=place)
    except (OSError, ValueError) as error:
        detail = f"{place} cannot be read: {type(error).__name__}"
        raise misconfigured(detail, "mend it, or remove it to trust anew") from error
    text = _checked(f"{ALIAS} {kind} {key}\n", str(place))
    words = f"trusted at first sight on {when.partition('T')[0]}"
    return Trust(text, by_alias=True, words=words, otherwise=f"{otherwise} on {when}")


def _keep(place: Path, key: str) -> str:
    """Keep a key in a file, whole or not at all; return the one that is there then."""
    place.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{os.getpid()}.{time.monotonic_ns()}")
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(f"{key} {moment}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, place)
    finally:
        draft.unlink(missing_ok=True)
    return " ".join(place.read_text(encoding="utf-8").split()[:2])


def _default_known() -> str:
    texts = []
    with contextlib.suppress(RuntimeError):  # a user without a home has no known_hosts
        own = Path.home() / ".ssh" / "known_hosts"
        texts += [_checked(_read(own), str(own))] if own.exists() else []
    texts += [_checked(_read(_SYSTEM), str(_SYSTEM))] if _SYSTEM.exists() else []
    return "\n".join(texts)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        words = (error.strerror if isinstance(error, OSError) else None) or "is not text"
        detail = f"{path}: {words}"
        raise misconfigured(detail, "the dispatcher must be able to read it") from error


def _checked(text: str, where: str) -> str:
    try:
        asyncssh.import_known_hosts(text)
    except ValueError as error:
        detail = f"{where} cannot be understood: {error}"
        raise misconfigured(detail, "write it as ssh-keyscan does") from None
    return text
