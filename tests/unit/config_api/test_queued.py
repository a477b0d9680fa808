"""What waits for a target, why, and when it is tried again."""

from datetime import UTC, datetime

from crossdock.messages import DeliveryAttempted, DeliveryFinished, DeliveryRouted
from crossdock.model import DeliveryState


T = 1_700_000_000.0
TARGET = {"name": "archive", "type": "folder", "path": "/x"}


def at(seconds: float) -> str:
    return datetime.fromtimestamp(T + seconds, UTC).isoformat().replace("+00:00", "Z")


def routed(parcel, seconds, target="archive"):
    return DeliveryRouted(
        delivery=f"{parcel}-{target}",
        parcel=parcel,
        target=target,
        protocol="folder",
        rules=("all",),
        instances=3,
        revision=7,
        at=T + seconds,
    )


def failed(parcel, number, seconds, wait, *, kind="unreachable", target="archive"):
    return DeliveryAttempted(
        delivery=f"{parcel}-{target}",
        attempt=number,
        started_at=T + seconds,
        finished_at=T + seconds + 1,
        delivered=0,
        warnings=0,
        refused=0,
        not_sent=3,
        kind=kind,
        detail=f"{kind}: is it mounted?" if kind else "",
        next_try=T + seconds + wait if kind else None,
    )


def held(parcel, seconds):
    return DeliveryFinished(
        delivery=f"{parcel}-archive",
        state=DeliveryState.HELD,
        delivered=0,
        warnings=0,
        missing=3,
        reason="5 attempts failed",
        at=T + seconds,
    )


def waiting(gateway):
    answer = gateway.http.get("/api/v1/targets/archive/waiting")
    assert answer.status_code == 200, answer.text
    return answer.json()


def record(gateway, *events):
    gateway.http.post("/api/v1/targets", json=TARGET)
    for event in events:
        gateway.ledger.record(event)


def test_of_a_target_for_which_nothing_waits_there_is_nothing_to_say(gateway):
    record(gateway)
    assert waiting(gateway) == {
        "target": "archive",
        "waiting": 0,
        "held": 0,
        "oldest_at": None,
        "next_try": None,
        "failed_at": None,
        "kind": "",
        "reason": "",
    }
    assert gateway.http.get("/api/v1/targets/nowhere/waiting").status_code == 404


def test_the_first_next_try_and_the_last_failure_are_told(gateway):
    record(
        gateway,
        *(routed(parcel, index) for index, parcel in enumerate("abc")),
        failed("a", 1, 10, 5, kind="timeout"),
        failed("a", 2, 20, 600),
        failed("b", 1, 30, 300, kind="busy"),
        routed("a", 0, "other"),
        failed("a", 1, 40, 1, target="other"),
    )
    told = waiting(gateway)
    assert (told["waiting"], told["held"], told["oldest_at"]) == (3, 0, at(0))
    assert (told["next_try"], told["failed_at"]) == (at(330), at(31))
    assert (told["kind"], told["reason"]) == ("busy", "busy: is it mounted?")


def test_what_is_held_or_delivered_is_no_reason_why_others_wait(gateway):
    record(
        gateway,
        routed("a", 0),
        failed("a", 1, 10, 30, kind="refused"),
        held("a", 12),
        routed("b", 20),
    )
    told = waiting(gateway)
    assert (told["waiting"], told["held"], told["oldest_at"]) == (1, 1, at(20))
    assert (told["next_try"], told["kind"], told["reason"]) == (None, "", "")
