"""Where an instance goes and as whom: what an association has for all that goes over it."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crossdock.config.targets import StorageScpTarget
from crossdock.config.targets.dicom import SENDER
from crossdock.errors import DeliveryError
from crossdock.model import Instance, InstanceOutcome
from crossdock.protocols.base import Outgoing


@dataclass(frozen=True, slots=True)
class Route:
    """A host, and the AE titles that its association is requested with.

    ``host`` is empty where the target sends back to the sender and that is not known.
    """

    host: str
    called_ae_title: str
    calling_ae_title: str


def sends_back(target: StorageScpTarget) -> bool:
    """Whether instances go to the address that they came from."""
    return target.host == SENDER


def route_of(target: StorageScpTarget, instance: Instance | None = None) -> Route:
    """Return the route of an instance, or of a check, which belongs to no instance."""
    called = instance.called_ae_title if instance and target.pass_called_ae_title else ""
    calling = instance.calling_ae_title if instance and target.pass_calling_ae_title else ""
    host = target.host
    if sends_back(target):
        host = instance.address if instance else ""
    return Route(host, called or target.called_ae_title, calling or target.calling_ae_title)


def passes_on(target: StorageScpTarget) -> bool:
    """Whether the instances of one delivery can have different routes."""
    return target.pass_called_ae_title or target.pass_calling_ae_title or sends_back(target)


def by_route(target: StorageScpTarget, instances: Sequence[Outgoing]) -> Sequence[Outgoing]:
    """Return the instances with those of each route together, so that each needs one association.

    Where a SOP Instance UID is there twice they stay as they are: the peer may keep only the last.
    """
    if len({each.instance.sop_instance_uid for each in instances}) < len(instances):
        return instances
    routes: dict[Route, list[Outgoing]] = {}
    for each in instances:
        routes.setdefault(route_of(target, each.instance), []).append(each)
    return [each for group in routes.values() for each in group]


def as_given(
    outcomes: Iterator[InstanceOutcome], instances: Sequence[Outgoing]
) -> Iterator[InstanceOutcome]:
    """Yield outcomes in the order of ``instances``, each once those before it are known.

    When they end early, the others that are known come last.

    Raises:
        DeliveryError: as ``outcomes`` does.
    """
    awaited = deque(each.instance.number for each in instances)
    known: dict[int, InstanceOutcome] = {}
    try:
        for outcome in outcomes:
            known[outcome.number] = outcome
            while awaited and awaited[0] in known:
                yield known.pop(awaited.popleft())
    except DeliveryError:
        yield from (known[number] for number in awaited if number in known)
        raise
    yield from (known[number] for number in awaited if number in known)
