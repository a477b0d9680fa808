"""A real stunnel in front of a server that speaks no TLS."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ports import free_port
from servers import require
from servers.certificates import Issued
from waiting import until


@contextmanager
def stunnel(
    directory: Path, port: int, certificate: Issued, clients: Path | None = None
) -> Iterator[int]:
    """Run stunnel before ``port`` until the block ends; yield its own port.

    ``clients`` is the CA that clients must have a certificate of.
    """
    program = require("stunnel4")
    directory.mkdir(parents=True, exist_ok=True)
    own, log = free_port(), directory / "log"
    verify = f"CAfile = {clients}\nverifyChain = yes\nrequireCert = yes\n" if clients else ""
    configuration = directory / "stunnel.conf"
    configuration.write_text(
        f"foreground = yes\npid =\noutput = {log}\n[dicomweb]\naccept = 127.0.0.1:{own}\n"
        f"connect = 127.0.0.1:{port}\ncert = {certificate.certificate}\nkey = {certificate.key}\n"
        f"sslVersionMin = TLSv1.2\n{verify}"
    )
    process = subprocess.Popen(
        [program, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: log.exists() and "onfiguration successful" in log.read_text(), what="stunnel")
        yield own
    finally:
        process.terminate()
        process.wait(60)
