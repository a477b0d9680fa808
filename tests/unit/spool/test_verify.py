"""What `crossdock spool verify` finds, what it leaves alone, and that it disturbs nobody."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crossdock.dicom.part10 import read_file_meta
from crossdock.model import DeliveryState
from crossdock.spool import Problem, Spool, StoredParcel, verify
from crossdock.spool.open_parcel import OpenParcel
from parcels import make_spool, route, store_parcel
from studies import make_ct


LONG_AGO = 1_000_000.0


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "data/spool")


@pytest.fixture
def stored(spool: Spool, tmp_path: Path) -> StoredParcel:
    return store_parcel(spool, make_ct(tmp_path / "ct", 3))


def problems(spool: Spool, *targets: str) -> list[Problem]:
    known = {"archive", "research", *targets}
    return [problem for each in verify(spool, known) for problem in each.problems]


def only(spool: Spool) -> Problem:
    (problem,) = problems(spool)
    assert problem.advice
    return problem


def conclude(stored: StoredParcel, target: str, state: DeliveryState) -> None:
    claim = stored.claim(target)
    assert claim is not None
    if state is DeliveryState.HELD:
        claim.note(reason="refused")
    stored.conclude(claim, state)


def crossdock(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "crossdock.cli.main", "spool", *arguments],
        env=os.environ | {"CROSSDOCK_DATA": str(data)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_spool_in_which_all_is_well_has_no_problems(spool: Spool, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 2)
    store_parcel(spool, paths)
    half = store_parcel(spool, paths)
    route(half, "archive", "research")
    conclude(half, "research", DeliveryState.HELD)
    delivered = store_parcel(spool, paths)
    route(delivered, "gone")
    conclude(delivered, "gone", DeliveryState.DELIVERED)
    assert delivered.retire(spool.retired)
    spool.hold(store_parcel(spool, paths), "no rule wanted it")
    found = list(verify(spool, {"archive", "research"}))
    assert [problem for each in found for problem in each.problems] == []
    assert sum(each.parcels for each in found) == 4
    assert sum(each.instances for each in found) == 8
    assert sum(each.size for each in found) == 4 * half.parcel.size


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 10)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def another_head(file: Path) -> None:
    uid = read_file_meta(file).sop_instance_uid.encode()
    file.write_bytes(file.read_bytes().replace(uid, b"9" + uid[1:], 1))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "not there"),
        (cut, "bytes and not the"),
        (another_head, "names another instance"),
        (lambda file: file.write_bytes(bytes(file.stat().st_size)), "head is damaged"),
    ],
)
def test_a_damaged_instance_is_named(
    spool: Spool, stored: StoredParcel, damage: Callable[[Path], object], words: str
) -> None:
    damage(stored.path / "2.dcm")
    problem = only(spool)
    assert problem.where == f"parcels/{stored.id}/2.dcm"
    assert words in problem.problem
    assert "send it again" in problem.advice


def test_an_instance_that_no_description_knows_is_named(spool: Spool, stored: StoredParcel) -> None:
    shutil.copy(stored.path / "1.dcm", stored.path / "9.dcm")
    assert only(spool).where.endswith("9.dcm")


def test_a_parcel_without_a_description_is_described_again_as_advised(
    spool: Spool, stored: StoredParcel
) -> None:
    (stored.path / "parcel.json").write_text("{")
    problem = only(spool)
    assert "description" in problem.problem
    assert "move the parcel's directory into open/" in problem.advice
    stored.path.rename(spool.opened / stored.id)
    assert len(list(spool.recover())) == 1
    assert problems(spool) == []


def test_what_is_no_parcel_is_named(spool: Spool) -> None:
    (spool.parcels / "notes.txt").write_text("mine")
    assert "it is no parcel" in only(spool).advice


def test_damaged_markers_are_named(spool: Spool, stored: StoredParcel) -> None:
    route(stored, "archive", "research")
    stored.marker("archive").write_text("nonsense")
    shutil.copy(stored.marker("research"), stored.marker("other"))
    where = {problem.where.rpartition("/")[2]: problem.problem for problem in problems(spool)}
    assert set(where) == {"archive", "other"}
    found = [problem.problem for problem in problems(spool, "other")]
    assert "cannot go on" in found[0]
    assert "marker of research" in found[1]


def test_a_delivery_whose_target_is_not_configured_is_named_where_that_is_known(
    spool: Spool, stored: StoredParcel
) -> None:
    route(stored, "trial")
    assert "not configured" in only(spool).problem
    assert [problem for each in verify(spool, None) for problem in each.problems] == []


def test_a_delivery_in_two_states_is_named(spool: Spool, stored: StoredParcel) -> None:
    route(stored, "archive")
    (stored.path / "done").mkdir()
    shutil.copy(stored.marker("archive"), stored.marker("archive", "done"))
    assert "more than one state" in only(spool).problem


def test_a_delivery_of_instances_that_are_not_there_is_named(
    spool: Spool, stored: StoredParcel
) -> None:
    route(stored, "archive", instances=[1, 7])
    assert "does not have" in only(spool).problem


def test_what_is_held_must_say_why(spool: Spool, stored: StoredParcel, tmp_path: Path) -> None:
    route(stored, "archive")
    claim = stored.claim("archive")
    assert claim is not None
    stored.conclude(claim, DeliveryState.HELD)
    assert "held without a reason" in only(spool).problem
    stored.discard_held("archive", "not needed")
    unwanted = store_parcel(spool, make_ct(tmp_path / "other", 1))
    unwanted.path.rename(spool.held / unwanted.id)
    assert "why it is held" in only(spool).problem


def test_an_unfinished_delivery_of_a_retired_parcel_is_named(
    spool: Spool, stored: StoredParcel
) -> None:
    route(stored, "archive")
    stored.path.rename(spool.retired / stored.id)
    assert "not final" in only(spool).problem


def test_leftovers_are_named_when_no_process_can_be_at_work_at_them(
    spool: Spool, stored: StoredParcel
) -> None:
    (stored.path / ".note.json.77").write_text("{")
    (spool.incoming / "1.part").write_bytes(b"half")
    assert problems(spool) == []
    for path in (stored.path / ".note.json.77", spool.incoming / "1.part"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    assert {problem.where for problem in problems(spool)} == {
        f"parcels/{stored.id}/.note.json.77",
        "incoming/1.part",
    }


def test_an_open_parcel_is_a_problem_only_if_nobody_owns_it(
    spool: Spool, stored: StoredParcel
) -> None:
    opened = spool.opened / stored.id
    stored.path.rename(opened)
    owner = OpenParcel.adopt(opened)
    assert owner is not None
    os.utime(opened, (LONG_AGO, LONG_AGO))
    assert problems(spool) == []
    owner.abandon()
    assert "receiver died" in only(spool).problem
    os.utime(opened)
    empty(opened / "1.dcm")
    assert "head is damaged" in only(spool).problem


def test_parcels_that_move_on_meanwhile_are_no_problem(spool: Spool, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 3)
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            stored = store_parcel(spool, paths)
            route(stored, "archive", "research")
            conclude(stored, "research", DeliveryState.HELD)
            conclude(stored, "archive", DeliveryState.DELIVERED)
            stored.discard_held("research", "not needed")
            assert stored.retire(spool.retired)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            assert problems(spool) == []
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_the_command_says_what_is_wrong_and_its_exit_code_does_too(
    stored: StoredParcel, tmp_path: Path
) -> None:
    sound = crossdock(tmp_path / "data", "verify")
    assert sound.returncode == 0, sound.stderr
    assert "parcels: 1, instances: 3" in sound.stdout
    assert "all is well" in sound.stdout
    cut(stored.path / "1.dcm")
    said = crossdock(tmp_path / "data", "verify", "--json")
    assert said.returncode == 1
    answer = json.loads(said.stdout)
    assert (answer["parcels"], answer["instances"]) == (1, 3)
    assert answer["problems"][0]["where"] == f"parcels/{stored.id}/1.dcm"
    nowhere = crossdock(tmp_path / "nowhere", "verify")
    assert nowhere.returncode == 1
    assert "There is no spool" in nowhere.stderr


@pytest.mark.usefixtures("stored")
def test_the_list_ends_with_totals_and_the_room_that_is_left(spool: Spool, tmp_path: Path) -> None:
    spool.hold(store_parcel(spool, make_ct(tmp_path / "other", 2)), "no rule wanted it")
    said = crossdock(tmp_path / "data", "list")
    assert said.returncode == 0, said.stderr
    assert "received: parcels 1, instances 3" in said.stdout
    assert "held: parcels 1, instances 2" in said.stdout
    assert "high-water mark" in said.stdout
