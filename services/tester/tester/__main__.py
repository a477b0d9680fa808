"""Starts the tester."""

import sys

from crossdock.bus.topology import CHECKS
from crossdock.service import Service
from crossdock.settings import Settings, from_environment
from tester.checks import AT_ONCE, Checks


def main(settings: Settings) -> int:
    """Run the tester until it is told to stop; returns the process's exit code."""
    with Service("tester", settings) as service:
        serving = service.bus.serve(CHECKS, Checks().respond, prefetch=AT_ONCE)
        service.closing(serving.close)
        service.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(from_environment()))
