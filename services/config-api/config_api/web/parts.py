"""What the routes work with."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from config_api.actions import Actions
from config_api.checks import CheckRecords
from config_api.configuration import Configuration
from config_api.readiness import Neighbours
from config_api.records import Records
from config_api.settling import Settling
from crossdock.bus import Bus
from crossdock.telemetry import Health


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the service that HTTP gives access to; ``token`` is None where none is asked."""

    configuration: Configuration
    records: Records
    checks: CheckRecords
    actions: Actions
    bus: Bus
    health: Health
    neighbours: Neighbours
    registry: CollectorRegistry
    token: str | None = None

    @property
    def settling(self) -> Settling:
        """What makes changes that may leave deliveries without their target."""
        return Settling(self.configuration, self.records, self.actions, self.bus)
