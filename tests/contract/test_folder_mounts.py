"""The folder adapter on file systems that are full or read-only, in a mount namespace of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from servers import require
from studies import make_ct


PROGRAM = """
import json, subprocess, sys
from pathlib import Path

sys.path[:0] = [sys.argv[1]]
from contract.remotes import make_target, outgoing_of
from crossdock.errors import DeliveryError
from crossdock.protocols import adapter_for
from studies import by_uid

path = Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", path], check=True)
if sys.argv[3] == "read-only":
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
target = make_target({"type": "folder", "path": str(path)})
confirmed, kind, temporary = [], "", None
with adapter_for(target) as adapter:
    green = adapter.check().green
    try:
        for outcome in adapter.send(outgoing_of(sorted(Path(sys.argv[4]).glob("*.dcm")))):
            confirmed.append(outcome.sop_instance_uid)
    except DeliveryError as error:
        kind, temporary = error.kind.value, error.temporary
files = [file for file in path.rglob("*") if file.is_file()]
there = set(by_uid(files)) >= set(confirmed)
left = [file.name for file in files if file.name.startswith(".")]
print(json.dumps([green, len(confirmed), kind, temporary, there, left]))
"""


def on_mount(tmp_path: Path, how: str) -> list[object]:
    unshare = require("unshare")
    probe = subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this kernel does not let us have a mount namespace")
    mount = tmp_path / "mount"
    mount.mkdir()
    make_ct(tmp_path / "ct", 8, size=50_000)
    arguments = (Path(__file__).parents[1], mount, how, tmp_path / "ct")
    answer = subprocess.run(
        [unshare, "-rm", sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    found: list[object] = json.loads(answer.stdout)
    return found


def test_a_full_file_system_is_busy_and_shows_nothing_half_written(tmp_path: Path) -> None:
    green, confirmed, kind, temporary, there, left = on_mount(tmp_path, "full")
    assert green
    assert confirmed in range(3, 7)
    assert (kind, temporary, there, left) == ("busy", True, True, [])


def test_a_read_only_file_system_is_misconfigured(tmp_path: Path) -> None:
    found = on_mount(tmp_path, "read-only")
    assert found == [False, 0, "misconfigured", False, True, []]
