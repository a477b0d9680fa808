"""What only the DICOMweb adapter can get wrong: batches, and what servers say of each instance."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.dicomweb_fixtures import check, failed, failure_of, reaching, send, series, uids
from contract.remotes import make_target, outgoing_of
from crossdock.dicom.part10 import read_file_meta
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import Outcome
from crossdock.protocols import Outgoing, adapter_for
from servers.orthanc import orthanc
from servers.stow import Asked, Reply, StowServer, at, stow_server
from studies import make_ct
from waiting import until


DELIVERED, REFUSED, WARNING = Outcome.DELIVERED, Outcome.REFUSED, Outcome.WARNING


@pytest.fixture
def server() -> Iterator[StowServer]:
    with stow_server(StowServer()) as server:
        yield server


def spoil(outgoing: Outgoing) -> None:
    """Make the dataset something that no server understands, and the file meta stay right."""
    content = outgoing.path.read_bytes()
    end = read_file_meta(outgoing.path).dataset_offset
    outgoing.path.write_bytes(content[:end] + b"\xff" * 60)


def test_batches_are_bounded_by_count_and_go_over_one_connection(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 7)
    outcomes = send(reaching(server, batch_instances=3), outgoing)
    assert [outcome.outcome for outcome in outcomes] == [DELIVERED] * 7
    assert [len(asked.instances) for asked in server.stored()] == [3, 3, 1]
    assert [uid for asked in server.stored() for uid in asked.instances] == uids(outgoing)
    assert server.connections == 1


def test_batches_are_bounded_by_bytes_and_one_that_is_larger_goes_alone(
    server: StowServer, tmp_path: Path
) -> None:
    paths = [*make_ct(tmp_path / "a", 4), *make_ct(tmp_path / "b", 1, size=50_000)]
    send(reaching(server, batch_bytes=6_000), outgoing_of(paths))
    assert [len(asked.instances) for asked in server.stored()] == [2, 2, 1]


def test_a_request_says_how_long_it_is_and_asks_for_json(
    server: StowServer, tmp_path: Path
) -> None:
    send(reaching(server), series(tmp_path, 2))
    (asked,) = server.stored()
    assert asked.path == "/dicom-web/studies"
    assert "transfer-encoding" not in asked.headers
    assert asked.headers["accept"].startswith("application/dicom+json")
    assert asked.headers["content-type"].startswith('multipart/related; type="application/dicom"')
    assert asked.headers["user-agent"].startswith("Crossdock/")


def test_the_prefixes_lead_to_their_services(server: StowServer, tmp_path: Path) -> None:
    target = reaching(server, stow_prefix="stow", qido_prefix="qido/v1")
    send(target, series(tmp_path, 1))
    assert check(target).green
    assert {asked.path for asked in server.asked} == {
        "/dicom-web/stow/studies",
        "/dicom-web/qido/v1/studies",
    }


def test_several_requests_are_under_way_at_once_and_outcomes_keep_their_order(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 8)
    met = threading.Barrier(4, timeout=20)

    def together(asked: Asked) -> None:
        met.wait()
        if uids(outgoing)[0] in asked.instances:
            until(lambda: len(server.instances) >= 3, what="the others are answered first")

    server.late = together
    outcomes = send(reaching(server, connections=4, batch_instances=1), outgoing)
    assert [outcome.number for outcome in outcomes] == list(range(1, 9))
    assert 4 <= server.connections <= 5


def test_copies_of_an_instance_go_one_after_the_other_in_their_order(
    server: StowServer, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path, 3)
    copies = outgoing_of([paths[0], paths[1], paths[0], paths[2], paths[0]])
    outcomes = send(reaching(server, connections=4), copies)
    assert [outcome.outcome for outcome in outcomes] == [DELIVERED] * 5
    first, second, third = uids(copies)[0], uids(copies)[1], uids(copies)[3]
    assert [asked.instances for asked in server.stored()] == [
        [first, second],
        [first, third],
        [first],
    ]


def test_each_instance_has_what_the_server_says_of_it(server: StowServer, tmp_path: Path) -> None:
    outgoing = series(tmp_path, 6)
    names = uids(outgoing)
    server.refused = {names[1]: 0x0110, names[3]: 0xC122, names[4]: 0x0111}
    server.warned = {names[2]: 0xB006}
    for server.xml in (False, True):
        outcomes = send(reaching(server), outgoing)
        assert [outcome.outcome for outcome in outcomes] == [
            DELIVERED,
            REFUSED,
            WARNING,
            REFUSED,
            DELIVERED,  # it was there already
            DELIVERED,
        ]
        assert [outcome.status for outcome in outcomes[1:5]] == ["0110", "B006", "C122", "0111"]
        assert "processing failure" in outcomes[1].detail
        assert "elements discarded" in outcomes[2].detail
        assert "transfer syntax" in outcomes[3].detail
        assert "already" in outcomes[4].detail
        assert len(server.stored()) == 1
        server.asked.clear()


def test_a_server_out_of_resources_is_busy_and_keeps_what_it_confirmed(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 4)
    server.refused = {uids(outgoing)[2]: 0xA700}
    with adapter_for(reaching(server)) as adapter:
        outcomes = adapter.send(outgoing)
        assert [next(outcomes).number, next(outcomes).number] == [1, 2]
        with pytest.raises(DeliveryError, match="A700 out of resources") as raised:
            next(outcomes)
    assert raised.value.kind is ErrorKind.BUSY
    assert raised.value.temporary


def test_where_all_is_refused_for_one_the_one_is_found_and_the_others_are_delivered(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 16)
    spoil(outgoing[5])
    outcomes = send(reaching(server), outgoing)
    assert Counter(outcome.outcome for outcome in outcomes) == {DELIVERED: 15, REFUSED: 1}
    assert outcomes[5].outcome is REFUSED
    assert outcomes[5].status == "HTTP 400"
    assert "does not understand" in outcomes[5].detail
    assert len(server.asked) <= 9  # halves, not one by one


def test_orthanc_says_400_and_has_the_others_all_the_same(tmp_path: Path) -> None:
    outgoing = series(tmp_path / "ct", 6)
    spoil(outgoing[2])
    with orthanc(tmp_path / "orthanc", dicomweb=True) as peer:
        target = make_target({"type": "dicomweb", "url": peer.dicomweb})
        outcomes = send(target, outgoing)
        assert [outcome.outcome for outcome in outcomes].count(DELIVERED) == 5
        assert (outcomes[2].outcome, outcomes[2].status) == (REFUSED, "HTTP 400")
        assert len(peer.instances()) == 5


def test_an_instance_that_the_answer_leaves_out_is_not_confirmed(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 3)
    lost = uids(outgoing)[1]

    def lose(asked: Asked) -> Reply | None:
        server.unnamed = {lost}
        if asked.instances == [lost]:
            return Reply(200)
        return None

    server.late = lose
    server.queries = False
    outcomes = send(reaching(server), outgoing)
    assert [outcome.outcome for outcome in outcomes] == [DELIVERED, REFUSED, DELIVERED]
    assert "does not say" in outcomes[1].detail


def test_where_the_answer_names_nobody_the_server_is_asked_what_it_has(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 3)
    server.unnamed = set(uids(outgoing))
    outcomes = send(reaching(server), outgoing)
    assert [outcome.outcome for outcome in outcomes] == [DELIVERED] * 3
    assert len(server.stored()) == 1
    assert "has it" in outcomes[0].detail


def test_a_conflict_over_an_instance_that_is_there_already_is_a_delivery(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 2)
    send(reaching(server), outgoing)
    server.late = lambda _asked: Reply(409)
    outcomes = send(reaching(server), outgoing)
    assert [outcome.outcome for outcome in outcomes] == [DELIVERED] * 2
    (outcome,) = send(reaching(server), series(tmp_path / "new", 1))
    assert (outcome.outcome, outcome.status) == (REFUSED, "HTTP 409")


def test_what_is_sent_alone_is_meant_even_if_its_dataset_has_another_uid(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = outgoing_of(make_ct(tmp_path, 1), sop_instance_uid="1.2.3.4.5")
    (outcome,) = send(reaching(server), outgoing)
    assert outcome.outcome is DELIVERED


def test_requests_that_are_too_large_are_halved_and_that_is_remembered(
    server: StowServer, tmp_path: Path
) -> None:
    sizes = {"a": (8, 2000), "b": (8, 2100), "c": (1, 90_000)}  # UIDs vary by some bytes
    outgoing = outgoing_of(
        [
            path
            for name, (count, size) in sizes.items()
            for path in make_ct(tmp_path / name, count, size=size)
        ]
    )
    too_large: list[Asked] = []

    def limit(asked: Asked) -> Reply | None:
        if asked.size <= 15_000:
            return None
        too_large.append(asked)
        return Reply(413, drain=False)

    server.early = limit
    outcomes = send(reaching(server, batch_instances=8), outgoing)
    assert Counter(outcome.outcome for outcome in outcomes) == {DELIVERED: 16, REFUSED: 1}
    assert outcomes[16].status == "HTTP 413"
    assert "limit" in outcomes[16].detail
    assert len(too_large) == 2


def test_an_answer_that_comes_before_all_is_sent_is_heard(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 4, size=8_000_000)
    server.early = lambda _asked: Reply(503, headers={"Retry-After": "17"}, drain=False)
    error = failure_of(reaching(server), outgoing)
    assert error.kind is ErrorKind.BUSY
    assert error.retry_after == 17


STATUSES = {
    301: (ErrorKind.MISCONFIGURED, False),
    307: (ErrorKind.MISCONFIGURED, False),
    401: (ErrorKind.UNAUTHORISED, False),
    403: (ErrorKind.UNAUTHORISED, False),
    404: (ErrorKind.MISCONFIGURED, False),
    405: (ErrorKind.MISCONFIGURED, False),
    429: (ErrorKind.BUSY, True),
    501: (ErrorKind.MISCONFIGURED, False),
    502: (ErrorKind.UNREACHABLE, True),
    503: (ErrorKind.BUSY, True),
    504: (ErrorKind.TIMEOUT, True),
    507: (ErrorKind.BUSY, True),
}


@pytest.mark.parametrize("status", STATUSES)
def test_what_a_status_says_of_the_target(server: StowServer, tmp_path: Path, status: int) -> None:
    server.early = lambda _asked: Reply(status)
    error = failure_of(reaching(server), series(tmp_path, 3))
    assert (error.kind, error.temporary) == STATUSES[status]
    assert str(status) in error.detail
    assert len(server.asked) == 1
    assert str(status) in failed(reaching(server)).detail


def test_every_fault_is_told_apart_by_a_check(server: StowServer) -> None:
    said = {}
    for status in (401, 403, 404, 500, 503):
        server.early = lambda _asked, status=status: Reply(status)  # type: ignore[misc]
        stage = failed(reaching(server))
        said[status] = (stage.name, stage.detail)
    assert len(set(said.values())) == 5
    assert said[401][0] == "authenticate"
    assert said[403][0] == "authorise"
    assert said[404][0] == "authorise"
    assert said[500][0] == "round trip"


def test_a_check_tells_a_login_that_may_only_query(server: StowServer) -> None:
    server.early = lambda asked: Reply(403) if asked.method == "POST" else None
    stage = failed(reaching(server))
    assert stage.name == "authorise"
    assert "may not do that" in stage.detail


def test_a_server_that_only_stores_is_green_and_one_to_be_queried_is_not(
    server: StowServer,
) -> None:
    server.queries = False
    assert check(reaching(server)).green
    assert failed(reaching(server, direction="both")).name == "round trip"
    server.queries = True
    server.early = lambda asked: Reply(404) if asked.method == "POST" else None
    assert check(reaching(server, direction="query")).green


def test_a_server_that_fails_at_an_empty_request_is_not_condemned(server: StowServer) -> None:
    server.early = lambda asked: Reply(500) if asked.method == "POST" else None
    report = check(reaching(server))
    assert report.green
    assert {stage.name: stage.state for stage in report.stages}["authorise"] == "skipped"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("120", 120.0), (at(0), 0.0), ("soon", None), ("-5", None), ("9" * 30, 86_400.0)],
)
def test_a_busy_server_says_when_to_come_back(
    server: StowServer, tmp_path: Path, said: str, seconds: float | None
) -> None:
    server.early = lambda _asked: Reply(503, headers={"Retry-After": said})
    assert failure_of(reaching(server), series(tmp_path, 1)).retry_after == seconds


def test_a_busy_server_may_say_so_with_a_date(server: StowServer, tmp_path: Path) -> None:
    server.early = lambda _asked: Reply(429, headers={"Retry-After": at(time.time() + 100)})
    wait = failure_of(reaching(server), series(tmp_path, 1)).retry_after
    assert wait is not None
    assert 90 < wait <= 100


def test_no_redirect_is_followed_and_its_place_is_named_without_its_secrets(
    server: StowServer, tmp_path: Path
) -> None:
    with stow_server(StowServer()) as other:
        place = f"{other.url}/studies?token=secret"
        server.early = lambda _asked: Reply(307, headers={"Location": place})
        error = failure_of(reaching(server, bearer="mine"), series(tmp_path, 1))
        assert other.asked == []
    assert str(other.port) in error.detail
    assert "secret" not in error.detail


def test_a_web_page_is_no_dicomweb_service(server: StowServer, tmp_path: Path) -> None:
    server.early = lambda _asked: Reply(200, b"<html>Log in!</html>", "text/html; charset=utf-8")
    error = failure_of(reaching(server), series(tmp_path, 1))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "web page" in error.detail
    assert failed(reaching(server)).name == "authenticate"


def test_a_server_that_fails_at_everything_is_left_alone(
    server: StowServer, tmp_path: Path
) -> None:
    server.early = lambda _asked: Reply(500)
    error = failure_of(reaching(server, batch_instances=4), series(tmp_path, 40))
    assert (error.kind, error.temporary) == (ErrorKind.UNEXPECTED, False)
    assert len(server.asked) <= 3 * 7  # of three batches under way at most


def test_a_server_that_fails_at_one_instance_gets_the_others(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 5)
    bad = uids(outgoing)[3]
    server.late = lambda asked: Reply(500) if bad in asked.instances else None
    outcomes = send(reaching(server), outgoing)
    assert Counter(outcome.outcome for outcome in outcomes) == {DELIVERED: 4, REFUSED: 1}
    assert outcomes[3].status == "HTTP 500"
