"""A delivery that waits for its target's time window says so, and when that opens."""

from datetime import UTC, datetime, timedelta

from crossdock.messages import (
    DeliveryAttempted,
    DeliveryFinished,
    DeliveryRouted,
    ParcelHeld,
    ParcelReceived,
)
from crossdock.model import DeliveryState
from machine import crossdock


NOW = datetime.now(UTC)
OPENS = (NOW + timedelta(hours=12)).replace(
    second=0, microsecond=0
)  # hours away in every zone here
WINDOW = {"from": f"{OPENS:%H:%M}", "to": f"{OPENS + timedelta(hours=1):%H:%M}"}


def configure(gateway, **changes):
    target = {"name": "night", "type": "folder", "path": "/data", "windows": [WINDOW]}
    answer = gateway.http.put("/api/v1/gateway", json={"targets": [target | changes]})
    assert answer.is_success, answer.text


def routed(gateway, parcel, **changes):
    gateway.ledger.record(
        DeliveryRouted(
            delivery=f"{parcel}-night",
            parcel=parcel,
            target="night",
            protocol="folder",
            rules=("all",),
            instances=3,
            revision=1,
            at=NOW.timestamp(),
            **changes,
        )
    )


def failed(gateway, parcel, next_try):
    gateway.ledger.record(
        DeliveryAttempted(
            delivery=f"{parcel}-night",
            attempt=1,
            started_at=NOW.timestamp() + 1,
            finished_at=NOW.timestamp() + 2,
            delivered=0,
            warnings=0,
            refused=0,
            not_sent=3,
            kind="unreachable",
            detail="connection refused",
            next_try=next_try.timestamp(),
        )
    )


def listed(gateway):
    return {each["parcel"]: each for each in gateway.http.get("/api/v1/deliveries").json()["items"]}


def moment(text):
    return datetime.fromisoformat(text)


def test_a_delivery_outside_its_window_says_when_that_opens(gateway):
    configure(gateway)
    for parcel in ("aa1", "aa2", "aa3", "aa4"):
        routed(gateway, parcel)
    failed(gateway, "aa2", OPENS - timedelta(hours=1))
    failed(gateway, "aa3", OPENS + timedelta(hours=1))
    gateway.ledger.record(
        DeliveryFinished(
            delivery="aa4-night",
            state=DeliveryState.HELD,
            delivered=0,
            warnings=0,
            missing=3,
            reason="refused",
            at=NOW.timestamp() + 3,
        )
    )
    found = listed(gateway)
    opens = f"waits: its time window opens {OPENS:%a %Y-%m-%d %H:%M} (UTC)"
    assert found["aa1"]["reason"] == opens
    assert moment(found["aa1"]["next_try"]) == OPENS
    assert found["aa2"]["reason"] == f"{opens}; the last attempt: connection refused"
    assert moment(found["aa2"]["next_try"]) == OPENS
    assert moment(found["aa3"]["next_try"]) == OPENS + timedelta(hours=1)
    assert (found["aa4"]["reason"], found["aa4"]["next_try"]) == ("refused", None)
    one = gateway.http.get("/api/v1/deliveries/aa1-night").json()
    assert one["reason"] == opens
    gateway.ledger.record(ParcelHeld(parcel="aa1", reason="", at=NOW.timestamp() - 1))
    (of_parcel,) = gateway.http.get("/api/v1/parcels/aa1").json()["deliveries"]
    assert of_parcel["reason"] == opens
    page = gateway.http.get("/").text
    assert f"its time window opens {OPENS:%a %Y-%m-%d %H:%M} (UTC)" in page


def test_inside_the_window_nothing_is_said(gateway):
    configure(gateway, windows=[{"from": "00:00", "to": "00:00"}])
    routed(gateway, "aa1")
    assert listed(gateway)["aa1"]["reason"] == ""


def test_the_time_is_that_of_the_targets_zone(gateway):
    configure(gateway, time_zone="Asia/Kathmandu")
    routed(gateway, "aa1")
    assert listed(gateway)["aa1"]["reason"].endswith("(Asia/Kathmandu)")


def test_an_urgent_delivery_waits_for_the_window_unless_its_target_takes_it_any_time(gateway):
    configure(gateway)
    routed(gateway, "aa1", priority="urgent")
    found = listed(gateway)["aa1"]
    assert found["priority"] == "urgent"
    assert found["reason"].startswith("waits:")
    configure(gateway, urgent_any_time=True)
    assert listed(gateway)["aa1"]["reason"] == ""


def test_the_command_line_shows_what_is_urgent_and_whose_fallback_it_is(gateway):
    configure(gateway)
    routed(gateway, "aa1", priority="urgent", instead_of="archive")
    routed(gateway, "aa2")
    here = {"CROSSDOCK_API": str(gateway.http.base_url).rstrip("/")}
    newest, oldest = crossdock("deliveries", "list", **here).stdout.splitlines()[1:3]
    assert "waiting urgent" in oldest
    assert "urgent" not in newest
    shown = crossdock("deliveries", "show", "aa1-night", **here).stdout
    assert "as the fallback of: archive" in shown
    assert "priority: urgent" in shown


def test_a_delivery_that_keeps_the_order_says_which_older_one_it_waits_for(gateway):
    configure(gateway, windows=[], keep_order=True)
    for number, series in enumerate(("1.2", "1.2", "1.3", "1.2"), 1):
        parcel = f"aa{number}"
        facts = {"study_instance_uid": "1", "series_instance_uid": series, "instances": 3}
        origin = {"store_node": "main", "calling_ae_title": "CT1", "address": "10.0.0.1"}
        times = {"received_at": 1.0, "closed_at": 2.0, "bytes": 1}
        gateway.ledger.record(ParcelReceived(parcel=parcel, **facts, **origin, **times))
        routed(gateway, parcel)
    failed(gateway, "aa4", OPENS)
    found = listed(gateway)
    words = "waits: aa1-night is an older delivery of its series"
    assert [found[f"aa{number}"]["reason"] for number in (1, 2, 3)] == ["", words, ""]
    assert found["aa4"]["reason"] == f"{words}; the last attempt: connection refused"
    assert moment(found["aa4"]["next_try"]) == OPENS
