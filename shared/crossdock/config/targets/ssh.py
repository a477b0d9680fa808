"""What targets that are reached over SSH have in common: the account, and who the server must be."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from crossdock.config.fields import Configured, Port
from crossdock.config.secret import Secret
from crossdock.config.targets.base import FileTarget, RemoteTarget
from crossdock.config.tls import FilePath


_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_PUBLIC_KEY = re.compile(r"[a-z0-9@.-]{3,64} [A-Za-z0-9+/]{40,4000}={0,2}( [ -~]{1,200})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MOST = 1000  # characters of a path


def _pin(value: str) -> str:
    if _FINGERPRINT.fullmatch(value) or _PUBLIC_KEY.fullmatch(value):
        return value
    raise ValueError(
        "use a fingerprint such as SHA256:… (43 characters), or a public key such as ssh-ed25519 AAAA…"
    )


def _user(value: str) -> str:
    if not value or len(value) > 200 or value.startswith("-") or _CONTROL.search(value):  # noqa: PLR2004 — longer than any
        raise ValueError("use 1 to 200 characters that can be seen, not beginning with a dash")
    return value


def _remote_path(value: str) -> str:
    if not value or len(value) > _MOST or _CONTROL.search(value):
        raise ValueError(f"use a path of 1 to {_MOST} characters without control characters")
    if value.startswith("~"):
        raise ValueError("leave the ~ out: a relative path begins in the account's home directory")
    if ".." in value.split("/"):
        raise ValueError("use a path without '..'")
    return value


Pin = Annotated[str, AfterValidator(_pin)]


class HostKey(Configured):
    """How the server proves who it is; exactly one way."""

    pinned: Annotated[tuple[Pin, ...], Field(max_length=16)] = Field(
        (), description="The server's public keys, or their SHA256 fingerprints; one of them."
    )
    known_hosts: FilePath | None = Field(
        None, description="A known_hosts file, on the machine of the dispatcher."
    )
    trust_on_first_use: bool = Field(
        False,
        description="Trust the key that is seen first, and only that one from then on. Whoever "
        "stands in between at that moment gets the password and the images.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> "HostKey":
        ways = (bool(self.pinned), self.known_hosts is not None, self.trust_on_first_use)
        if sum(ways) != 1:
            raise ValueError("use exactly one of pinned, known_hosts and trust_on_first_use")
        return self


class SshTarget(RemoteTarget, FileTarget):
    """A directory on a host that is reached over SSH."""

    port: Port = 22
    user: Annotated[str, AfterValidator(_user)] = Field(description="Account on the server.")
    password: Secret | None = Field(None, description="The account's password.")
    key: Secret | None = Field(
        None, description="Private key: its text, or {file: /path} on the dispatcher's machine."
    )
    key_passphrase: Secret | None = Field(None, description="What opens the private key.")
    host_key: HostKey | None = Field(
        None,
        description="Who the server must be. Left out: whom the known_hosts of the dispatcher's "
        "user or machine name, and nobody else.",
    )
    path: Annotated[str, AfterValidator(_remote_path)] = Field(
        description="Directory on the server, absolute or below the account's home; never made."
    )
    file_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = Field(
        "640", description="Permissions of new files, in octal; the account's umask is kept."
    )
    directory_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3,4}$")] = Field(
        "750", description="Permissions of directories that are made, in octal; as above."
    )

    @model_validator(mode="after")
    def _can_log_in(self) -> "SshTarget":
        if self.password is None and self.key is None:
            raise ValueError("give a password, a key, or both")
        if self.key_passphrase is not None and self.key is None:
            raise ValueError("key_passphrase needs its key")
        return self

    @property
    def base(self) -> str:
        """The directory's path as programs there take it: never looking like an option."""
        return self.path if self.path.startswith("/") else f"./{self.path}"
