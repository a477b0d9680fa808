"""Certificates for tests, made by OpenSSL."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from servers import require


_NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


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


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, as files."""

    key: Path
    certificate: Path


class Authority:
    """A CA of our own, which signs what a test needs."""

    def __init__(self, directory: Path, name: str = "Test CA") -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._key, self.certificate = directory / "ca.key", directory / "ca.pem"
        self._openssl(
            "req", "-x509", *_NEW_KEY, "-days", "3650", "-subj", f"/CN={name}",
            "-keyout", str(self._key), "-out", str(self.certificate),
        )  # fmt: skip

    def issue(
        self, name: str, *, alternative: str = "", days: int = 90, password: str = ""
    ) -> Issued:
        """Sign a certificate for a common name; ``days`` of -1 has expired."""
        issued = Issued(self._directory / f"{name}.key", self._directory / f"{name}.pem")
        request, extensions = self._directory / "request.pem", self._directory / "extensions"
        protection = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        self._openssl(
            "req", "-newkey", "rsa:2048", *protection, "-subj", f"/O=Hospital/CN={name}",
            "-keyout", str(issued.key), "-out", str(request),
        )  # fmt: skip
        extensions.write_text(f"subjectAltName={alternative or 'DNS:' + name}\n")
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.certificate),
            "-CAkey", str(self._key), "-set_serial", str(time.time_ns()), "-days", str(days),
            "-extfile", str(extensions), "-out", str(issued.certificate),
        )  # fmt: skip
        return issued

    def _openssl(self, *arguments: str) -> None:
        command = [require("openssl"), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
