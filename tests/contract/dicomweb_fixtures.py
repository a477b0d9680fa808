"""What the tests of the DICOMweb adapter share."""

from pathlib import Path

from contract.remotes import make_target, outgoing_of
from crossdock.config.targets import Target
from crossdock.errors import DeliveryError
from crossdock.model import CheckReport, CheckStage, InstanceOutcome
from crossdock.protocols import Outgoing, adapter_for
from servers.stow import StowServer
from studies import make_ct


def reaching(server: StowServer, **changes: object) -> Target:
    """Settings that reach a server, with one request at a time."""
    return make_target({"type": "dicomweb", "url": server.url, "connections": 1, **changes})


def series(directory: Path, count: int, size: int = 2000) -> list[Outgoing]:
    """A CT series as instances of a parcel."""
    return outgoing_of(make_ct(directory, count, size=size))


def uids(outgoing: list[Outgoing]) -> list[str]:
    """Their SOP Instance UIDs."""
    return [each.instance.sop_instance_uid for each in outgoing]


def send(target: Target, outgoing: list[Outgoing]) -> list[InstanceOutcome]:
    """Send with an adapter of its own."""
    with adapter_for(target) as adapter:
        return list(adapter.send(outgoing))


def failure_of(target: Target, outgoing: list[Outgoing]) -> DeliveryError:
    """Send in vain, and return why."""
    try:
        send(target, outgoing)
    except DeliveryError as error:
        return error
    raise AssertionError("nothing failed")


def check(target: Target) -> CheckReport:
    """Check with an adapter of its own."""
    with adapter_for(target) as adapter:
        return adapter.check()


def failed(target: Target) -> CheckStage:
    """Check, and return the stage that failed."""
    (stage,) = [stage for stage in check(target).stages if stage.state == "failed"]
    assert stage.detail
    assert stage.advice
    return stage


def states(target: Target) -> dict[str, str]:
    """Check, and return the state of each stage."""
    return {stage.name: stage.state for stage in check(target).stages}
