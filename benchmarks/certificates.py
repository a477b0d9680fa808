"""One certificate that signs itself, for everybody on this machine."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as files; whoever trusts the one shows it, too."""

    file: Path
    key: Path

    @property
    def dcmtk(self) -> list[object]:
        """Options for DCMTK's programs, both roles."""
        return ["+tls", self.key, self.file, "+cf", self.file]

    @property
    def ours(self) -> list[object]:
        """Options for our programs here, both roles."""
        return ["--tls", self.file, self.key]

    @property
    def node(self) -> dict[str, str]:
        """The ``tls`` of a store node."""
        return {"certificate": str(self.file), "key": str(self.key), "ca": str(self.file)}


def make_certificate(home: Path) -> Certificate:
    """Make a certificate for localhost and 127.0.0.1, with a key of 2048 bits (RSA)."""
    made = Certificate(home / "certificate.pem", home / "key.pem")
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-keyout", made.key, "-out", made.file, "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return made
