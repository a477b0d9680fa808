"""How soon the reconciler looks again."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from crossdock.bus import connect
from crossdock.bus.core import LetterBus
from parcels import make_spool, store_parcel
from ports import free_port
from receiver import reconcile
from receiver.reconcile import Reconciler, ReconcilerThread
from studies import make_ct
from waiting import until


def test_while_the_broker_is_away_it_looks_as_often_as_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "INTERVAL_SECONDS", 0.01)
    spool = make_spool(tmp_path / "spool")
    store_parcel(spool, make_ct(tmp_path / "study", 1))
    with connect(f"amqp://127.0.0.1:{free_port()}/") as bus, capture_logs() as logs:
        assert isinstance(bus, LetterBus)
        bus.timeout = 0.2  # seconds; for a twentieth of the time it would wait for 4
        thread = ReconcilerThread(Reconciler(spool, bus), lambda: True)
        until(lambda: len([each for each in logs if each["event"] == "reconcile.postponed"]) > 3)
        thread.close()
