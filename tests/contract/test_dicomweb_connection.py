"""The DICOMweb adapter's connections: kept, lost, cut, interrupted; and what it does with files."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.dicomweb_fixtures import check, failed, failure_of, reaching, send, series, uids
from contract.remotes import make_target, outgoing_of, speaking
from crossdock.errors import ErrorKind
from crossdock.model import Outcome
from crossdock.protocols import adapter_for
from servers.stow import Asked, Reply, StowServer, stow_server
from studies import by_uid, dataset_bytes, make_ct


@pytest.fixture
def server() -> Iterator[StowServer]:
    with stow_server(StowServer()) as server:
        yield server


def test_a_connection_that_the_server_closed_in_between_costs_nothing(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 3)
    with adapter_for(reaching(server)) as adapter:
        assert all(outcome.confirmed for outcome in adapter.send(outgoing[:1]))
        server.early = gone_once(server)
        assert all(outcome.confirmed for outcome in adapter.send(outgoing[1:]))
    assert server.connections == 2


def gone_once(server: StowServer) -> object:
    """Let the server close the connection without an answer, once."""

    def gone(_asked: Asked) -> Reply:
        server.early = lambda _asked: None
        return Reply(0, None)

    return gone


def test_a_connection_that_is_cut_in_a_request_is_unreachable(
    server: StowServer, tmp_path: Path
) -> None:
    server.early = lambda _asked: Reply(0, None, drain=False)
    error = failure_of(reaching(server), series(tmp_path, 2, size=8_000_000))
    assert error.kind is ErrorKind.UNREACHABLE
    assert error.temporary


def test_what_speaks_no_http_is_misconfigured(tmp_path: Path) -> None:
    with speaking(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as port:
        target = make_target({"type": "dicomweb", "url": f"http://127.0.0.1:{port}/"})
        error = failure_of(target, series(tmp_path, 1))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert "HTTP" in error.detail


def test_a_server_that_stops_reading_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        target = make_target({"type": "dicomweb", "url": url, "timeout": 0.5})
        began = time.monotonic()
        error = failure_of(target, series(tmp_path, 3, size=8_000_000))
    assert error.kind is ErrorKind.TIMEOUT
    assert "stopped taking" in error.detail
    assert time.monotonic() - began < 10


def test_a_name_that_nobody_has_is_unreachable(tmp_path: Path) -> None:
    target = make_target({"type": "dicomweb", "url": "http://pacs.invalid/dicom-web"})
    assert failed(target).name == "resolve"
    error = failure_of(target, series(tmp_path, 1))
    assert error.kind is ErrorKind.UNREACHABLE
    assert "name not found" in error.detail


def test_stopping_ends_the_requests_that_are_under_way_and_the_adapter_goes_on(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 6)
    over = threading.Event()
    first = uids(outgoing)[0]

    def hang(asked: Asked) -> None:
        if first not in asked.instances:
            over.wait(60)

    server.late = hang
    with adapter_for(reaching(server, connections=2, batch_instances=1)) as adapter:
        outcomes = adapter.send(outgoing)
        assert next(outcomes).number == 1
        began = time.monotonic()
        outcomes.close()  # type: ignore[attr-defined]  # it is a generator
        assert time.monotonic() - began < 30
        over.set()
        server.late = lambda _asked: None
        assert all(outcome.confirmed for outcome in adapter.send(outgoing))


def test_a_file_that_shrinks_while_it_is_sent_keeps_nobody_else_back(
    server: StowServer, tmp_path: Path
) -> None:
    outgoing = series(tmp_path, 4, size=12_000_000)

    def shrink(_asked: Asked) -> None:
        with outgoing[2].path.open("r+b") as file:
            file.truncate(5000)

    server.early = shrink
    outcomes = send(reaching(server), outgoing)
    assert [outcome.outcome for outcome in outcomes] == [
        Outcome.DELIVERED,
        Outcome.DELIVERED,
        Outcome.NOT_SENT,
        Outcome.DELIVERED,
    ]
    assert "spool" in outcomes[2].detail
    assert uids(outgoing)[2] not in server.instances


def test_where_it_came_from_does_not_leave_with_it(server: StowServer, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path, 1), address="10.9.8.7")
    send(reaching(server), outgoing)
    (part,) = server.instances.values()
    assert b"10.9.8.7" not in part
    assert part.endswith(dataset_bytes(outgoing[0].path))


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    target = make_target({"type": "dicomweb", "url": f"file://{tmp_path}/a%20folder"})
    assert failed(target).name == "exists"
    folder.mkdir()
    assert check(target).green
    paths = make_ct(tmp_path / "ct", 3)
    outgoing = outgoing_of(paths)
    with adapter_for(target) as adapter:
        assert all(outcome.confirmed for outcome in adapter.send(outgoing))
        adapter.finish(outgoing)
    assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(paths)
    (marker,) = folder.rglob(".complete")
    assert {path.parent for path in folder.rglob("*.dcm")} == {marker.parent}
