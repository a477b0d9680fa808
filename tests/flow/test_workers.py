"""Worker processes of one receiver: they share the work, the limits, and nothing that can be lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from crossdock.cli.demo import demo_gateway
from crossdock.dicom.errors import AssociationAborted, AssociationRejected
from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.storage_scu import StorageScu
from crossdock.errors import CrossdockError
from crossdock.model import Parcel
from ports import free_port
from receivers import Receiver, alive, receiving, workers
from running import TOLD, Running, running
from servers import require
from servers.dcmtk import ENVIRONMENT
from servers.samples import sample
from studies import by_uid, make_ct
from waiting import until


CT = sample("CT_small.dcm")
META = read_file_meta(CT)
CONTEXTS = [(META.sop_class_uid, (META.transfer_syntax_uid,))]
LIMIT, BROKEN = (2, 3, 2), (0, 0, 0)


@contextmanager
def associated(receiver: Receiver, count: int, calling: str = "CT1") -> Iterator[list[StorageScu]]:
    """Hold associations open; each worker has as many as any other, or one more."""
    with ExitStack() as stack:
        scus = [stack.enter_context(receiver.scu(calling)) for _ in range(count)]
        for scu in scus:
            scu.associate(CONTEXTS)
        yield scus


def answer(scu: StorageScu) -> tuple[int, int, int] | None:
    """Return how an association is rejected, None if it is accepted, BROKEN if it is lost."""
    with scu:
        try:
            scu.associate(CONTEXTS)
        except AssociationRejected as error:
            return error.result, error.source, error.reason
        except AssociationAborted:
            return BROKEN
    return None


def broken(scu: StorageScu) -> bool:
    """Whether an association is no more."""
    try:
        scu.store(CT, META)
    except CrossdockError:
        return True
    return False


def stored(receiver: Receiver) -> list[Parcel]:
    found = (receiver.data / "spool/parcels").glob("*/parcel.json")
    return [Parcel.model_validate_json(path.read_bytes()) for path in found]


def test_four_senders_at_once_are_served_by_all_workers_and_counted_as_one(tmp_path: Path) -> None:
    sent = [make_ct(tmp_path / f"study{n}", 30, size=50_000) for n in range(4)]
    dcmsend = require("dcmsend")
    with receiving(tmp_path / "data", 2) as receiver:
        command = [dcmsend, "-aec", "GATE", "127.0.0.1", str(receiver.port)]
        senders = [
            subprocess.Popen([*command, *map(str, paths)], env=ENVIRONMENT) for paths in sent
        ]
        assert [sender.wait(60) for sender in senders] == [0] * 4
        until(lambda: sum(len(parcel.instances) for parcel in stored(receiver)) == 120)
        received = receiver.metrics("crossdock_instances_received_total")
        assert received == {'{status="0000",store_node="main"}': 120.0}
        accepted = receiver.metrics("crossdock_associations_total")
        assert accepted == {'{result="accepted",store_node="main"}': 4.0}
        until(lambda: set(connections(receiver).values()) == {0.0})
    parcels = (tmp_path / "data/spool/parcels").iterdir()
    kept = [path for parcel in parcels for path in parcel.glob("*.dcm")]
    assert by_uid(kept) == by_uid([path for paths in sent for path in paths])


def connections(receiver: Receiver) -> dict[str, float]:
    return receiver.metrics("crossdock_worker_connections")


def test_each_connection_goes_to_the_worker_that_has_the_fewest(tmp_path: Path) -> None:
    with receiving(tmp_path / "data", 3) as receiver:
        until(lambda: list(connections(receiver).values()) == [0.0, 0.0, 0.0])
        with associated(receiver, 7) as scus:
            assert sorted(connections(receiver).values()) == [2.0, 2.0, 3.0]
            for scu in scus[0::3]:  # those of one worker
                scu.close()
            until(lambda: sorted(connections(receiver).values()) == [0.0, 2.0, 2.0])
            with associated(receiver, 2):
                assert sorted(connections(receiver).values()) == [2.0, 2.0, 2.0]
        until(lambda: set(connections(receiver).values()) == {0.0})


def test_limits_hold_over_all_workers_and_a_dead_one_gives_its_share_back(tmp_path: Path) -> None:
    sources = [{"ae_title": "CT1", "max_associations": 2}, {"ae_title": "CT2"}]
    with receiving(tmp_path / "data", 2, sources=sources, max_associations=3) as receiver:
        with associated(receiver, 2), associated(receiver, 1, "CT2"):
            assert answer(receiver.scu("CT1")) == LIMIT
            assert answer(receiver.scu("CT2")) == LIMIT
            receiver.kill(receiver.workers()[0])
            until(lambda: answer(receiver.scu("CT1")) is None)
        until(receiver.ready, what="the worker is back")
        with associated(receiver, 2), associated(receiver, 1, "CT2"):
            assert answer(receiver.scu("CT1")) == LIMIT
        until(lambda: answer(receiver.scu("CT2")) is None)
        asked = receiver.metrics("crossdock_associations_total")
        assert asked['{result="busy",store_node="main"}'] >= 3


def test_counts_survive_the_worker_that_counted(tmp_path: Path) -> None:
    with receiving(tmp_path / "data", 2) as receiver:
        with associated(receiver, 2) as (first, second):
            assert (first.store(CT, META), second.store(CT, META)) == (0, 0)
            for pid in receiver.workers():
                receiver.kill(pid)
        until(lambda: receiver.metrics("crossdock_worker_connections") and receiver.ready())
        with associated(receiver, 1) as (third,):
            assert third.store(CT, META) == 0
        received = receiver.metrics("crossdock_instances_received_total")
        assert received == {'{status="0000",store_node="main"}': 3.0}
        text = receiver.get("/metrics").text
        assert "crossdock_workers_died_total 2.0" in text
        assert text.count("# TYPE crossdock_instances_received_total counter") == 1
        assert text.count("\ncrossdock_spool_free_bytes ") == 1


def test_workers_end_when_their_receiver_is_killed_and_the_port_is_free(tmp_path: Path) -> None:
    with receiving(tmp_path / "data", 2) as receiver, associated(receiver, 2) as (first, second):
        assert first.store(CT, META) == 0
        pids = receiver.workers()
        assert len(pids) == 2
        receiver.process.kill()
        receiver.process.wait()
        with socket.create_server(("", receiver.port)):
            until(lambda: not any(map(alive, pids)), what="the workers end")
        assert broken(first)
        assert broken(second)
        assert sum(len(parcel.instances) for parcel in stored(receiver)) == 1


def test_a_receiver_that_is_asked_to_end_takes_all_its_workers_along(tmp_path: Path) -> None:
    with receiving(tmp_path / "data", 2) as receiver, associated(receiver, 2) as (first, _):
        assert first.store(CT, META) == 0
        pids = receiver.workers()
        began = time.monotonic()
        receiver.process.terminate()
        assert receiver.process.wait(timeout=60) == 0
        assert time.monotonic() - began < 10
        assert not any(map(alive, pids))
        assert sum(len(parcel.instances) for parcel in stored(receiver)) == 1


def test_a_receiver_whose_workers_cannot_be_replaced_ends_with_an_error(tmp_path: Path) -> None:
    with receiving(tmp_path / "data", 2) as receiver:
        pids = receiver.workers()
        receiver.kill(nursery(pids[0]))
        with associated(receiver, 2) as (first, _):
            assert first.store(CT, META) == 0, "workers go on without it"
            receiver.kill(pids[0])
            assert receiver.process.wait(timeout=60) == 1
        until(lambda: not any(map(alive, pids)), what="the workers end")
    assert "worker.lost" in receiver.log.read_text()


def nursery(worker: int) -> int:
    return int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_one_worker_is_the_receiver_itself(tmp_path: Path) -> None:
    with receiving(tmp_path / "data", 1) as receiver, associated(receiver, 2) as (first, _):
        assert receiver.workers() == []
        assert first.store(CT, META) == 0
        assert connections(receiver) == {}
        received = receiver.metrics("crossdock_instances_received_total")
        assert received == {'{status="0000",store_node="main"}': 1.0}


def test_a_number_of_workers_that_is_none_is_refused() -> None:
    for option, environment in (["--workers", "0"], ""), ([], "many"):
        done = subprocess.run(
            [sys.executable, "-m", "crossdock.cli.services", "receiver", *option],
            env={**os.environ, "CROSSDOCK_RECEIVER_WORKERS": environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "workers" in done.stderr.lower()


def gateway(folder: Path, port: int) -> dict[str, object]:
    document = demo_gateway(folder)
    document["store_nodes"][0] |= {"port": port, "quiet_seconds": 600}
    return document


def test_a_worker_that_is_killed_breaks_its_own_connections_only_and_loses_nothing(
    tmp_path: Path, folder: Path, broker: str | None
) -> None:
    port = free_port()
    sent = make_ct(tmp_path / "study", 2)
    with (
        running(
            tmp_path / "data", gateway(folder, port), broker, CROSSDOCK_RECEIVER_WORKERS="2"
        ) as crossdock,
        sender(port) as first,
        sender(port) as second,
    ):
        first.associate(CONTEXTS)
        second.associate(CONTEXTS)
        assert first.store(sent[0], read_file_meta(sent[0])) == 0
        assert second.store(sent[1], read_file_meta(sent[1])) == 0
        victim = owner_of(crossdock, sent[0])
        os.kill(victim, signal.SIGKILL)
        until(lambda: broken(first), what="its connection breaks")
        until(lambda: by_uid(list(folder.rglob("*.dcm"))) == by_uid(sent[:1]), what="taken over")
        assert second.store(CT, META) == 0, "the other one's parcel is still its own"
        until(crossdock.ready, what="the worker is back")
        died = [line for line in crossdock.log.read_text().splitlines() if "worker.died" in line]
        assert [json.loads(line)["exit_code"] for line in died] == [-9]
        assert victim not in workers(crossdock.said("receiver")["pid"])  # type: ignore[index]
        second.release()
        until(lambda: len(list(folder.rglob("*.dcm"))) == 3, what="the other parcel arrives, too")


def sender(port: int, called: str = "CROSSDOCK") -> StorageScu:
    return StorageScu("127.0.0.1", port, called_ae_title=called, calling_ae_title="CT1")


def owner_of(crossdock: Running, path: Path) -> int:
    """Return the worker that has the open parcel of an instance."""
    (parcel,) = [
        found.parent
        for found in (crossdock.data / "spool/open").glob("*/*.dcm")
        if by_uid([found]) == by_uid([path])
    ]
    receiver = crossdock.said("receiver")
    assert receiver is not None
    (owner,) = [
        pid
        for pid in workers(receiver["pid"])
        if parcel in [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
    ]
    return owner


def test_a_change_reaches_every_worker_before_it_asks_for_it(tmp_path: Path, folder: Path) -> None:
    port, more = free_port(), free_port()
    with running(
        tmp_path / "data", gateway(folder, port), CROSSDOCK_RECEIVER_WORKERS="3"
    ) as crossdock:
        name = "/api/v1/store-nodes/demo"
        with ExitStack() as stack:
            running_ones = [stack.enter_context(sender(port)) for _ in range(3)]
            for scu in running_ones:
                scu.associate(CONTEXTS)
            assert crossdock.api.patch(name, json={"ae_title": "RENAMED"}).is_success
            until(lambda: all_accept(port, "RENAMED"), TOLD, "every worker knows the new title")
            assert not any(map(broken, running_ones)), "running associations go on"
            assert crossdock.api.patch(name, json={"port": more}).is_success
            until(lambda: all_accept(more, "RENAMED"), TOLD, "every worker knows the new port")
            until(lambda: all(map(broken, running_ones)), what="those of the old port have ended")
        until(crossdock.ready, what="all workers have the revision in force")
        halted = workers(crossdock.said("receiver")["pid"])[0]  # type: ignore[index]
        os.kill(halted, signal.SIGSTOP)
        assert crossdock.api.patch(name, json={"description": "third"}).is_success
        until(lambda: "has not taken revision" in crossdock.api.get("/readyz").text)
        os.kill(halted, signal.SIGCONT)
        until(crossdock.ready, what="it has caught up")


def all_accept(port: int, called: str) -> bool:
    """Whether three associations at once, which are one per worker, are accepted."""
    with ExitStack() as stack:
        try:
            for _ in range(3):
                stack.enter_context(sender(port, called)).associate(CONTEXTS)
        except CrossdockError:
            return False
    return True
