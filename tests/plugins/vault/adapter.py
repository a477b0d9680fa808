"""The adapter of vaults."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from vault import PASSWORD
from vault.settings import VaultTarget

from crossdock.errors import SecretUnavailable
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.stages import StageFailed, run_stages


class VaultAdapter(Adapter):
    """Opens the vault, and stores nothing."""

    def __init__(self, target: VaultTarget) -> None:
        self._target = target

    def check(self) -> CheckReport:
        """See ``Adapter.check``."""
        return run_stages((("authenticate", self._open),))

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        for outgoing in instances:
            yield outgoing.outcome(Outcome.REFUSED, detail="a vault takes nothing")

    def _open(self) -> str:
        try:
            given = (self._target.login.password.reveal(), self._target.token.reveal())
        except SecretUnavailable as error:
            raise StageFailed(str(error), "say what it is") from None
        if given != (PASSWORD, Path(self._target.expects).read_text()):
            raise StageFailed("the vault stays closed", "compare password and token")
        return "the vault is open"
