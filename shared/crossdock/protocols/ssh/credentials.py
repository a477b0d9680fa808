"""What a target's account logs in with, ready for use: never in a text, a log or a repr."""

from dataclasses import dataclass

import asyncssh

from crossdock.config.secret import Secret
from crossdock.config.targets.ssh import SshTarget
from crossdock.errors import SecretUnavailable
from crossdock.protocols.ssh.failures import misconfigured


_WHOLE = "give the whole text of the file, with its BEGIN and END lines"


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A password, a private key that needs no passphrase any more, or both."""

    password: str | None
    key: asyncssh.SSHKey | None

    def key_file(self) -> bytes:
        """Return the private key as OpenSSH reads it from a file."""
        return self.key.export_private_key("openssh") if self.key is not None else b""

    @property
    def words(self) -> str:
        """What there is, for people."""
        kinds = (("the key", self.key), ("the password", self.password))
        return " and ".join(name for name, value in kinds if value is not None)


def credentials_of(target: SshTarget) -> Credentials:
    """Return the credentials of a target.

    Raises:
        TargetFailed: a secret cannot be had here, or the key cannot be used.
    """
    return Credentials(_revealed(target.password, "password"), _key(target))


def _revealed(secret: Secret | None, field: str) -> str | None:
    try:
        return secret.reveal() if secret is not None else None
    except SecretUnavailable as error:
        advice = "the dispatcher must be able to read it where it runs"
        raise misconfigured(f"{field}: {error}", advice) from None


def _key(target: SshTarget) -> asyncssh.SSHKey | None:
    text = _revealed(target.key, "key")
    if text is None:
        return None
    passphrase = _revealed(target.key_passphrase, "key_passphrase")
    try:
        return asyncssh.import_private_key(text, passphrase)
    except asyncssh.KeyEncryptionError:
        detail, advice = "key_passphrase does not open the key", "give the key's own passphrase"
    except asyncssh.KeyImportError as error:
        if "assphrase" in str(error):
            detail, advice = "the key needs its passphrase", "set key_passphrase"
        elif passphrase and "decrypt" in str(error):
            detail, advice = "key_passphrase does not open the key", "give the key's own passphrase"
        else:
            detail, advice = "key is no private key that is understood", _WHOLE
    raise misconfigured(detail, advice)
