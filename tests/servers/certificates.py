"""Certificates for tests, made by OpenSSL."""

import subprocess
from pathlib import Path

from servers import require


def make_certificate(directory: Path, name: str = "localhost") -> tuple[Path, Path]:
    """Make a key and a certificate that signs itself, for a name and 127.0.0.1."""
    key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
    command = [
        require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}",
        "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return key, certificate
