"""What SFTP and rsync targets share: credentials, host keys, the first stages of a check."""

from crossdock.protocols.ssh.credentials import Credentials, credentials_of
from crossdock.protocols.ssh.opening import Opening, opening_stages, set_before
from crossdock.protocols.ssh.trust import ALIAS, Trust, fingerprint, trust_of


__all__ = [
    "ALIAS",
    "Credentials",
    "Opening",
    "Trust",
    "credentials_of",
    "fingerprint",
    "opening_stages",
    "set_before",
    "trust_of",
]
