"""How long delivered parcels are kept, and that nothing else is ever deleted."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from crossdock.model import DeliveryState
from crossdock.settings import Settings, from_environment
from crossdock.spool import StoredParcel
from parcels import make_spool, route, store_parcel
from receiver.account import Account
from receiver.retention import Keeping, Retention, RetentionThread
from studies import make_ct
from waiting import until


HOUR = 3600.0


class Place:
    """A spool on a disk of 10 MB, of which ``free`` says what is left."""

    def __init__(self, directory: Path) -> None:
        self.spool = make_spool(directory / "spool")
        self.paths = make_ct(directory / "ct", 2)
        self.free = 10_000_000

    def waiting(self) -> StoredParcel:
        stored = store_parcel(self.spool, self.paths)
        route(stored, "archive")
        return stored

    def retired(self, hours: float) -> StoredParcel:
        """Return a parcel that was delivered some hours ago."""
        stored = self.waiting()
        claim = stored.claim("archive")
        assert claim is not None
        stored.conclude(claim, DeliveryState.DELIVERED)
        assert stored.retire(self.spool.retired)
        there, then = self.spool.retired / stored.id, time.time() - hours * HOUR
        os.utime(there, (then, then))
        return StoredParcel(there)

    def retention(self, **settings: str) -> Retention:
        return Retention(self.spool, made(**settings), lambda _: (10_000_000, self.free))

    def kept(self) -> list[str]:
        return [stored.id for stored in self.spool.all_retired()]


def made(**settings: str) -> Settings:
    return from_environment({f"CROSSDOCK_{name}": value for name, value in settings.items()})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_parcel_is_deleted_when_its_time_is_over(place: Place) -> None:
    place.retired(25)
    young = place.retired(23)
    retention = place.retention()
    assert retention.run() == 1
    assert place.kept() == [young.id]
    assert retention.run(time.time() + 2 * HOUR) == 1
    assert place.kept() == []


def test_the_oldest_go_first_when_all_together_are_too_large(place: Place) -> None:
    middle, oldest, youngest = place.retired(2), place.retired(3), place.retired(1)
    size = middle.parcel.size
    before = metric("crossdock_spool_deleted_bytes_total", reason="size")
    retention = place.retention(RETENTION_BYTES=str(2 * size))
    assert retention.run() == 1
    assert place.kept() == [middle.id, youngest.id]
    assert not oldest.path.exists()
    assert metric("crossdock_spool_deleted_bytes_total", reason="size") == before + size
    assert metric("crossdock_spool_bytes", state="retired") == 2 * size


def test_below_the_low_water_mark_as_much_is_deleted_as_is_missing(place: Place) -> None:
    oldest, *others = (place.retired(hours) for hours in (4, 3, 2, 1))
    size = oldest.parcel.size
    place.free = 5_000_000 - size - 1
    retention = place.retention(SPOOL_LOW_WATER="5MB")
    assert retention.run() == 2
    assert place.kept() == [each.id for each in others[1:]]
    place.free = 5_000_000
    assert retention.run() == 0


def test_what_waits_or_is_held_is_never_deleted(place: Place) -> None:
    waiting, held, retired = place.waiting(), place.waiting(), place.retired(1)
    claim = held.claim("archive")
    assert claim is not None
    held.conclude(claim, DeliveryState.HELD)
    unwanted = place.spool.hold(store_parcel(place.spool, place.paths), "no rule wanted it")
    misplaced = place.waiting()
    misplaced.path.rename(place.spool.retired / misplaced.id)
    place.free = 0
    assert place.retention(RETENTION_HOURS="0", RETENTION_BYTES="0").run() >= 1
    assert place.kept() == [misplaced.id]
    assert not retired.path.exists()
    for stored in (waiting, held, unwanted):
        assert stored.path.exists()


def test_that_nothing_is_left_to_delete_is_said_once(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    retention = place.retention()
    place.free = 0
    for _ in range(3):
        retention.run()
    assert capsys.readouterr().out.count("spool.low_water") == 1


def test_it_is_told_how_full_the_spool_is(place: Place) -> None:
    waiting = place.waiting()
    place.retired(1)
    place.retention(SPOOL_RESERVE="10%", SPOOL_LOW_WATER="20%").run()
    assert metric("crossdock_spool_parcels", state="waiting") == 1
    assert metric("crossdock_spool_bytes", state="waiting") == waiting.parcel.size
    assert metric("crossdock_spool_parcels", state="retired") == 1
    assert metric("crossdock_spool_free_bytes") == 10_000_000
    assert metric("crossdock_spool_volume_bytes") == 10_000_000
    assert metric("crossdock_spool_mark_bytes", mark="high_water") == 1_000_000
    assert metric("crossdock_spool_mark_bytes", mark="low_water") == 2_000_000


def test_it_looks_at_once_and_goes_on_after_a_spool_that_was_away(place: Place) -> None:
    place.retired(25)
    away = place.spool.retired.rename(place.spool.root / "away")
    thread = RetentionThread(place.retention())
    try:
        away.rename(place.spool.retired)
        until(lambda: not place.kept(), what="the deletion")
    finally:
        thread.close()


def test_an_account_follows_what_comes_and_goes(place: Place) -> None:
    account = Account(place.spool.retired)
    account.refresh(1.0)
    assert (len(account), account.size, account.oldest()) == (0, 0, None)
    first, second = place.retired(2), place.retired(1)
    (second.path / "parcel.json").write_text("{")
    account.refresh(1.0)
    assert (len(account), account.size) == (2, 2 * first.parcel.size)
    assert account.oldest() == (first.path.stat().st_mtime, first.id)
    assert place.spool.delete_retired(first.id)
    account.refresh(1.0)
    assert (len(account), account.size) == (1, first.parcel.size)
    assert account.oldest() == (second.path.stat().st_mtime, second.id)


def test_an_account_weighs_no_longer_than_it_may(place: Place) -> None:
    place.retired(1)
    account = Account(place.spool.retired)
    account.refresh(0.0)
    assert (len(account), account.size, account.complete) == (1, 0, False)
    account.refresh(1.0)
    assert account.size > 0
    assert account.complete


@given(
    st.floats(0, 100), st.floats(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers()
)
def test_a_parcel_stays_only_if_nothing_speaks_against_it(
    since: float, now: float, kept: int, limit: int, missing: int
) -> None:
    reason = Keeping(50.0, limit).reason(since, now, kept, missing)
    stays = now - since < 50.0 and kept <= limit and missing <= 0
    assert (reason is None) == stays


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", float("inf")),
        ("0", 0),
        ("1500", 1500),
        ("20GB", 2e10),
        ("1.5 TB", 1.5e12),
        ("4KiB", 4096),
        ("4kB", 4000),
    ],
)
def test_a_size_is_as_people_write_it(text: str, size: float) -> None:
    assert made(RETENTION_BYTES=text).retention_bytes == size


@pytest.mark.parametrize("text", ["much", "-1", "10%", "5 GBit", "1e9"])
def test_a_size_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="CROSSDOCK_RETENTION_BYTES"):
        made(RETENTION_BYTES=text)


@pytest.mark.parametrize(
    ("reserve", "low_water", "marks"),
    [
        ("", "", (100_000, 50_000)),
        ("10%", "", (110_000, 100_000)),
        ("1kB", "2KiB", (2048, 1000)),
        ("0", "5MB", (1_000_000, 0)),
        ("100kB", "0", (110_000, 100_000)),
    ],
)
def test_the_low_water_mark_is_passed_before_senders_are_refused(
    reserve: str, low_water: str, marks: tuple[int, int]
) -> None:
    found = made(SPOOL_RESERVE=reserve, SPOOL_LOW_WATER=low_water).marks(1_000_000)
    assert (found.low_water, found.high_water) == marks
