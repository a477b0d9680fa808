"""A gateway with its broker and its targets, and what was sent through it so far."""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from crash.gateway import Gateway
from crash.study import Study
from crash.targets import ARCHIVE, Sent, Targets
from crossdock.spool.marker import read_record
from ports import free_port
from servers.keeper import keeping
from servers.rabbitmq import rabbitmq
from waiting import until


class House:
    """Has a gateway that is sound: one in which a case failed is replaced before the next."""

    def __init__(self, directory: Path, *, with_rabbitmq: bool) -> None:
        self._directory = directory
        self._with_rabbitmq = with_rabbitmq
        self._stack = ExitStack()
        self._gateway: Gateway | None = None
        self._number = 0
        self.sound = False
        self._passed: list[tuple[Study, Sent]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def gateway(self) -> Gateway:
        """Return a gateway that is ready, with nothing armed."""
        if self._gateway is None or not self.sound:
            self._stack.close()
            self._passed.clear()
            self._gateway = self._opened()
        self._gateway.disarm()
        self._gateway.wait_ready()
        self.sound = False
        return self._gateway

    def _opened(self) -> Gateway:
        self._number += 1
        directory = self._directory / str(self._number)
        folder = directory / "folder"
        folder.mkdir(parents=True)
        self.targets, self.store_port = Targets(folder), free_port()
        scp = self._stack.enter_context(keeping(self.targets.archive))
        server = None
        if self._with_rabbitmq:
            server = self._stack.enter_context(rabbitmq(directory / "rabbitmq"))
        document = self.targets.gateway(self.store_port, scp.address[1])
        gateway = Gateway(directory, server, document)
        self._stack.callback(gateway.close)
        gateway.open()
        return gateway

    def settled(self, study: Study) -> bool:
        """Whether a study is where it belongs and the spool has nothing left to do."""
        assert self._gateway is not None
        spool = self._gateway.data / "spool"
        left = [*(spool / "open").iterdir(), *(spool / "parcels").iterdir()]
        return not left and self.targets.have(study)

    def recorded(self, study: Study, targets: int = 2) -> bool:
        """Whether the ledger says so, and that a person must look at what no rule wants."""
        assert self._gateway is not None
        deliveries = self._gateway.ledger("deliveries", study=study.uid)
        parcels = self._gateway.ledger("parcels", study=study.uid)
        held = [each for each in parcels if each["state"] == "held"]
        delivered = sum(each["delivered"] for each in deliveries)
        return (
            all(each["state"] == "delivered" for each in deliveries)
            and all(each["state"] in ("routed", "held") for each in parcels)
            and all(each["reason"] for each in held)
            and sum(each["instances"] for each in held) >= len(study.unwanted)
            and delivered >= targets * len(study.wanted)
        )

    def journalled(self) -> set[str]:
        """Return the instances that the archive has confirmed, as journals say."""
        assert self._gateway is not None
        while True:
            with suppress(FileNotFoundError):  # a parcel has just moved on: look again
                return _confirmed(self._gateway.data / "spool")

    def check(self, study: Study, sent: Sent) -> None:
        """Check what the targets got, now and again at the end of everything."""
        self.targets.check(study, sent)
        self._passed.append((study, sent))

    def check_everything_again(self) -> None:
        """Check all cases so far once more: nothing came late, and only held parcels are left."""
        if self._gateway is None or not self.sound:
            return
        self._gateway.wait_ready()
        until(lambda: self._states() == {"held"}, what="only held parcels are in the spool")
        for study, sent in self._passed:
            self.targets.check(study, sent)

    def _states(self) -> set[str]:
        assert self._gateway is not None
        rows = [row.split("│") for row in self._gateway.spooled().splitlines()]
        return {row[2].strip() for row in rows if len(row) > 2 and row[1].strip()}


def _confirmed(spool: Path) -> set[str]:
    records = [read_record(journal) for journal in spool.glob(f"*/*/*/{ARCHIVE}")]
    outcomes = [each for record in records for each in record.outcomes.values()]
    return {each.sop_instance_uid for each in outcomes if each.confirmed}
