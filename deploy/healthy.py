"""The image's health check: ends with 0 if the service in this container answers 200.

Usage: ``healthy.py [PATH]``; ``/readyz`` by default. It knows nothing of Crossdock's code, so that
asking costs next to nothing.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException


def main() -> int:
    """Ask once; return the exit code."""
    port = int(os.environ["CROSSDOCK_HTTP"].rpartition(":")[2])
    path = sys.argv[1] if len(sys.argv) > 1 else "/readyz"
    connection = HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        sys.stdout.write(answer.read(2000).decode("utf-8", "replace"))
    except (OSError, HTTPException) as error:
        sys.stdout.write(f"no answer: {type(error).__name__}")
        return 1
    return 0 if answer.status == 200 else 1  # noqa: PLR2004 — HTTP's OK


if __name__ == "__main__":
    sys.exit(main())
