"""Starts the tester."""

import sys

from crossdock.bus.topology import CHECK_FINISHED, CHECKS
from crossdock.config import Gateway
from crossdock.messages import Message
from crossdock.service import Service
from crossdock.settings import Settings, from_environment
from tester.checks import AT_ONCE, Checks
from tester.clock import Clock
from tester.on_demand import OnDemand
from tester.standing import Standing


def main(settings: Settings) -> int:
    """Run the tester until it is told to stop; returns the process's exit code."""
    with Service("tester", settings) as service:
        checks, standing = Checks(), Standing(service.bus)
        clock = Clock(checks, standing.tell)
        on_demand = OnDemand(checks, standing.tell)

        def configure(gateway: Gateway, _revision: int) -> None:
            standing.configure(gateway)
            clock.configure(gateway)

        def heard(message: Message) -> None:
            standing.heard(message)
            clock.heard(message)

        serving = service.bus.serve(CHECKS, on_demand.respond, prefetch=AT_ONCE)
        service.closing(serving.close)
        service.closing(service.bus.listen(CHECK_FINISHED, heard).close)
        service.follow_configuration(configure)
        clock.start()
        service.closing(clock.close)
        service.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(from_environment()))
