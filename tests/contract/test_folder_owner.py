"""Whom the files of a folder target belong to, as far as we may give them away."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.remotes import FolderRemote, outgoing_of
from crossdock.config.snapshot import parse_object
from crossdock.errors import ConfigError, DeliveryError, ErrorKind
from crossdock.model import CheckReport
from crossdock.protocols import adapter_for
from servers import require
from studies import make_ct


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")

PROGRAM = """
import json, sys
from pathlib import Path

sys.path[:0] = [sys.argv[1]]
from contract.remotes import make_target, outgoing_of
from crossdock.errors import DeliveryError
from crossdock.protocols import adapter_for

target = make_target({"type": "folder", "path": sys.argv[2], "owner": "12345"})
with adapter_for(target) as adapter:
    report = adapter.check()
    try:
        outcome = [each.outcome for each in adapter.send(outgoing_of([Path(sys.argv[3])]))]
    except DeliveryError as error:
        outcome = [error.kind.value, error.temporary]
stages = [(stage.state, stage.detail + stage.advice) for stage in report.stages]
print(json.dumps([stages, outcome]))
"""


@pytest.fixture
def remote(tmp_path: Path) -> FolderRemote:
    return FolderRemote(tmp_path)


def owners(directory: Path) -> set[tuple[int, int]]:
    """Whom everything below a directory belongs to."""
    return {(path.stat().st_uid, path.stat().st_gid) for path in directory.rglob("*")}


def sent(remote: FolderRemote, tmp_path: Path, **changes: object) -> CheckReport:
    """Check and send; return the report of the check."""
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 6))
    with adapter_for(remote.target(**changes)) as adapter:
        report = adapter.check()
        assert all(outcome.confirmed for outcome in adapter.send(outgoing))
        adapter.finish(outgoing)
    return report


@as_root
@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("12345:23456", (12345, 23456)),
        ("12345", (12345, os.getegid())),
        (":23456", (os.geteuid(), 23456)),
        ("root:root", (0, 0)),
    ],
)
def test_files_directories_and_marker_are_given_away(
    remote: FolderRemote, tmp_path: Path, owner: str, expected: tuple[int, int]
) -> None:
    report = sent(remote, tmp_path, owner=owner, file_mode="660", directory_mode="2770")
    assert report.green
    assert [stage.name for stage in report.stages] == ["exists", "owner", "write", "space"]
    assert owners(remote.path) == {expected}
    for path in remote.path.rglob("*"):
        assert path.stat().st_mode & 0o7777 == (0o2770 if path.is_dir() else 0o660)


def test_files_may_be_given_to_whom_they_belong_anyway(
    remote: FolderRemote, tmp_path: Path
) -> None:
    assert sent(remote, tmp_path, owner=f"{os.geteuid()}:{os.getegid()}").green
    assert owners(remote.path) == {(os.geteuid(), os.getegid())}


@pytest.mark.parametrize("owner", ["nobody-of-this-name", "root:no-such-group"])
def test_an_owner_that_does_not_exist_is_named(
    remote: FolderRemote, tmp_path: Path, owner: str
) -> None:
    with adapter_for(remote.target(owner=owner)) as adapter:
        failed = adapter.check().failure
        assert failed is not None
        assert failed.name == "owner"
        assert owner.rpartition(":")[2] in failed.detail
        assert failed.advice
        with pytest.raises(DeliveryError, match=owner) as raised:
            list(adapter.send(outgoing_of(make_ct(tmp_path / "ct", 1))))
    assert raised.value.kind is ErrorKind.MISCONFIGURED
    assert not raised.value.temporary
    assert remote.files() == []


def test_who_may_not_give_files_away_is_told_what_to_do(
    remote: FolderRemote, tmp_path: Path
) -> None:
    (path,) = make_ct(tmp_path / "ct", 1)
    as_others = []
    if os.geteuid() == 0:
        as_others = [require("setpriv"), "--bounding-set=-chown", "--inh-caps=-chown"]
    arguments = (Path(__file__).parents[1], remote.path, path)
    answer = subprocess.run(
        [*as_others, sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    stages, outcome = json.loads(answer.stdout)
    assert [state for state, _ in stages] == ["ok", "ok", "failed", "skipped"]
    assert "files cannot be given to 12345" in stages[2][1]
    assert "CAP_CHOWN" in stages[2][1]
    assert outcome == ["misconfigured", False]
    assert list(remote.path.iterdir()) == []


@pytest.mark.parametrize("owner", ["a:", ":", "a b", "a:b:c", "-rf", "ä", "4294967295", "x\n"])
def test_an_owner_that_cannot_be_one_is_refused(owner: str) -> None:
    document = {"name": "x", "type": "folder", "path": "/x", "owner": owner}
    with pytest.raises(ConfigError) as raised:
        parse_object("targets", document)
    assert [problem.field for problem in raised.value.problems] == ["owner"]
