"""Of several routers on one spool one keeps house, until its process ends."""

from pathlib import Path

from crossdock.bus import connect
from crossdock.bus.topology import PARCELS
from crossdock.settings import from_environment
from parcels import make_spool, store_parcel
from receiver.commitment_reports import CommitmentReports
from receiver.housekeeping import Housekeeping
from receiver.reconcile import Reconciler, ReconcilerThread
from receiver.retention import Retention
from studies import make_ct
from waiting import until


def test_the_first_keeps_house_until_it_ends_and_then_the_next(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    first, second = Housekeeping(spool), Housekeeping(spool)
    assert first.is_ours()
    assert not second.is_ours()
    assert first.is_ours()
    first.close()
    assert second.is_ours()
    assert not first.is_ours()
    second.close()


def test_a_router_that_does_not_keep_house_tells_how_full_the_spool_is_and_deletes_nothing(
    tmp_path: Path,
) -> None:
    spool = make_spool(tmp_path / "spool")
    stored = store_parcel(spool, make_ct(tmp_path / "ct", 1))
    stored.route([])
    assert stored.retire(spool.retired)
    settings = from_environment({"CROSSDOCK_RETENTION_HOURS": "0"})
    turns = [False, True]
    retention = Retention(spool, settings, is_ours=lambda: turns.pop(0))
    assert retention.run() == 0
    assert list(spool.all_retired())
    assert retention.run() == 1
    assert not list(spool.all_retired())


def test_a_router_that_does_not_keep_house_reconciles_and_reports_nothing(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    store_parcel(spool, make_ct(tmp_path / "ct", 1))
    asked: list[str] = []

    def is_ours(who: str) -> bool:
        asked.append(who)
        return False

    with connect("memory://housekeeping") as bus:
        reconciling = ReconcilerThread(Reconciler(spool, bus), lambda: is_ours("reconciler"))
        reports = CommitmentReports(spool, is_ours=lambda: is_ours("reports"))
        reports.start()
        until(lambda: {*asked} == {"reconciler", "reports"})
        reconciling.close()
        reports.close()
        assert bus.depth(PARCELS) == 0
