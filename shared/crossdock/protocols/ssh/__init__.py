"""What SFTP and rsync targets share: credentials, host keys, the first stages of a check."""

from crossdock.protocols.ssh.credentials import Credentials, credentials_of
from crossdock.protocols.ssh.failures import SshFailed
from crossdock.protocols.ssh.opening import Opening, explained, opening_stages, set_before
from crossdock.protocols.ssh.trust import ALIAS, Trust, fingerprint, trust_of


__all__ = [
    "ALIAS",
    "Credentials",
    "Opening",
    "SshFailed",
    "Trust",
    "credentials_of",
    "explained",
    "fingerprint",
    "opening_stages",
    "set_before",
    "trust_of",
]
