"""What only the rsync adapter can get wrong: batches, staging, the script, what rsync says."""

import errno
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.remotes import outgoing_of
from contract.remotes_ssh import RsyncRemote
from crossdock.config.targets import RsyncTarget, Target
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import Outcome
from crossdock.protocols import Outgoing, adapter_for
from crossdock.protocols.rsync.failures import Ended, of_file, of_run
from servers.sshd import sshd
from studies import by_uid, make_ct
from waiting import until


SCRIPT = """\
#!/bin/sh
printf '%s\\n' "$#" "$@" >> "$(dirname "$0")/told"
{rest}
"""


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RsyncRemote]:
    with RsyncRemote(tmp_path) as remote:
        yield remote


def script(remote: RsyncRemote, rest: str = "", name: str = "mercure_complete.sh") -> Path:
    """Put a script there that notes what it is told; return where it notes that."""
    path = remote.path / name
    path.write_text(SCRIPT.format(rest=rest))
    path.chmod(0o755)
    return remote.path / "told"


def deliver(target: Target, outgoing: list[Outgoing]) -> str:
    """Deliver, and return what is said of what is done once after it."""
    with adapter_for(target) as adapter:
        assert all(outcome.confirmed for outcome in adapter.send(outgoing))
        adapter.finish(outgoing)
        action = adapter.afterwards(outgoing)
        return "" if action is None else action()


def test_the_script_is_told_the_directory_and_the_target(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    told = script(remote, "echo all went well")
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 2))
    target = remote.target(run_on_complete=True, name="research")
    with adapter_for(target) as adapter:
        (stage,) = [each for each in adapter.check().stages if each.name == "script"]
    assert stage.state == "ok"
    assert not told.exists()
    said = deliver(target, outgoing)
    assert said == "mercure_complete.sh ended with code 0: all went well"
    (folder,) = {path.parent for path in remote.files() if path.suffix == ".dcm"}
    assert told.read_text().splitlines() == ["2", str(folder), "research"]


def test_a_script_that_fails_is_reported_with_its_code_and_its_last_words(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    script(remote, "seq 100000; printf 'no \\033[31mroom\\n' >&2; exit 7", name="other.sh")
    target = remote.target(run_on_complete=True, script="other.sh")
    said = deliver(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert said.startswith("other.sh failed with code 7; it is not run again: ")
    assert said.endswith("no  [31mroom")
    assert len(said) < 2200


def test_a_script_that_is_not_there_is_red_in_the_check_and_reported_by_a_delivery(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    target = remote.target(run_on_complete=True)
    with adapter_for(target) as adapter:
        failed = adapter.check().stages[-1]
    assert (failed.name, failed.state) == ("script", "failed")
    assert "executable" in failed.advice
    assert "code 127" in deliver(target, outgoing_of(make_ct(tmp_path / "ct", 1)))


def test_a_script_that_does_not_end_is_not_waited_for(remote: RsyncRemote, tmp_path: Path) -> None:
    script(remote, "echo begun; exec sleep 30")
    target = remote.target(run_on_complete=True, script_seconds=1)
    began = time.monotonic()
    said = deliver(target, outgoing_of(make_ct(tmp_path / "ct", 1)))
    assert time.monotonic() - began < 20
    assert "not waited for any longer after 1 s" in said


def test_the_script_of_several_directories_is_told_the_one_that_holds_them_all(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    told = script(remote)
    target = remote.target(
        run_on_complete=True, naming="{StudyDescription}/{InstanceNumber}/{SOPInstanceUID}.dcm"
    )
    deliver(target, outgoing_of(make_ct(tmp_path / "ct", 3)))
    assert told.read_text().splitlines()[1] == str(remote.path / "CHEST")


def test_a_hostile_value_gets_no_further_than_the_scripts_arguments(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    told = script(remote)
    canary = tmp_path / "canary"
    (path,) = make_ct(tmp_path / "ct", 1, description=f"$(touch {canary.name})'\"`id`")
    target = remote.target(run_on_complete=True, naming="{StudyDescription}/{SOPInstanceUID}.dcm")
    deliver(target, outgoing_of([path]))
    assert told.read_text().splitlines()[0] == "2"
    assert not [*tmp_path.rglob(canary.name)]
    assert not (Path.home() / canary.name).exists()


def test_batches_have_the_size_of_the_settings_and_are_all_delivered(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 7)
    with adapter_for(remote.target(batch=3, naming="{SOPInstanceUID}.dcm")) as adapter:
        outcomes = list(adapter.send(outgoing_of(paths)))
    assert [each.number for each in outcomes] == list(range(1, 8))
    assert remote.received() == by_uid(paths)


def test_of_two_instances_of_one_name_the_last_one_stays(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    first, second = make_ct(tmp_path / "ct", 2)
    shutil.copy(second, first)
    with adapter_for(remote.target()) as adapter:
        assert [each.confirmed for each in adapter.send(outgoing_of([first, second]))] == [True] * 2
    assert remote.received() == by_uid([second])


def test_each_run_keeps_to_its_share_of_the_bandwidth(remote: RsyncRemote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 2, size=400_000)
    with adapter_for(remote.target(bandwidth="800 kB/s", concurrency=2)) as adapter:
        assert adapter.check().green
        began = time.monotonic()
        assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(paths)))
    assert time.monotonic() - began > 0.9 * 2


def test_what_a_killed_process_left_in_the_staging_directory_is_removed(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    left = tmp_path / "data" / "staging" / "rsync-dead" / "batch"
    left.mkdir(parents=True)
    (left / "1.dcm").touch()
    with adapter_for(remote.target()) as adapter:
        list(adapter.send(outgoing_of(make_ct(tmp_path / "ct", 1))))
    assert list((tmp_path / "data" / "staging").iterdir()) == []


def test_without_a_free_session_the_target_is_busy(remote: RsyncRemote, tmp_path: Path) -> None:
    with (
        sshd(tmp_path / "narrow", "MaxSessions 0") as peer,
        adapter_for(remote.target(**peer.settings())) as adapter,
        pytest.raises(DeliveryError) as raised,
    ):
        list(adapter.send(outgoing_of(make_ct(tmp_path / "ct", 1))))
    assert raised.value.kind is ErrorKind.BUSY


def test_a_connection_ends_with_the_process_that_opened_it(remote: RsyncRemote) -> None:
    program = (
        "import sys, os, signal\n"
        "from crossdock.config.snapshot import parse_object\n"
        "from crossdock.protocols import adapter_for\n"
        "adapter = adapter_for(parse_object('targets', __import__('json').load(sys.stdin)))\n"
        "adapter._opened()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        input=remote.target().model_dump_json().encode(),
        check=False,
        timeout=120,
    )
    assert ended.returncode == -signal.SIGKILL
    until(lambda: not _clients(remote.sshd.port), what="no ssh is left")


def _clients(port: int) -> list[str]:
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"ssh") and str(port).encode() in words:
            found.append(str(line))
    return found


@pytest.mark.parametrize(
    ("code", "said", "kind", "temporary"),
    [
        (11, 'write failed on "/x/SECRET.dcm": No space left on device (28)', "busy", True),
        (23, 'mkdir "/x/SECRET" failed: Permission denied (13)', "misconfigured", False),
        (11, 'mkdir "/x/." failed: No such file or directory (2)', "misconfigured", False),
        (30, "io timeout after 60 seconds", "timeout", True),
        (127, "sh: rsync: not found", "misconfigured", False),
        (12, "connection unexpectedly closed", "unreachable", True),
        (99, "SECRET", "unexpected", False),
    ],
)
def test_what_rsync_says_tells_what_kind_of_failure_it_is(
    remote: RsyncRemote, code: int, said: str, kind: str, temporary: bool
) -> None:
    target = remote.target()
    assert isinstance(target, RsyncTarget)
    error = of_run(Ended(code, f"rsync: [receiver] {said}\n"), target)
    assert (error.kind, error.temporary) == (ErrorKind(kind), temporary)
    assert "SECRET" not in error.detail


def test_a_file_that_is_refused_has_the_reason_without_its_name(remote: RsyncRemote) -> None:
    said = 'rsync: [receiver] rename "/x/a/1.dcm" -> "b" failed: File name too long (36)\n'
    target = remote.target()
    assert isinstance(target, RsyncTarget)
    reason = of_file(Ended(23, said), "a/1.dcm", target)
    assert not isinstance(reason, DeliveryError)
    assert reason.status == errno.errorcode[errno.ENAMETOOLONG]
    assert "1.dcm" not in reason.detail


def test_an_rsync_that_is_too_old_to_sync_is_told_from_its_words() -> None:
    said = "rsync: on remote machine: --fsync: unknown option\n"
    assert Ended(1, said).cannot_sync
    assert not Ended(1, "rsync: --foo: unknown option\n").cannot_sync


def test_names_that_rsync_might_take_for_its_own_are_only_names(
    remote: RsyncRemote, tmp_path: Path
) -> None:
    paths = [
        make_ct(tmp_path / f"ct{number}", 1, description=text)[0]
        for number, text in enumerate(["--delete", "-e sh", "host,module", "a+b=c", " x "])
    ]
    with adapter_for(remote.target(naming="{StudyDescription}/{SOPInstanceUID}.dcm")) as adapter:
        outcomes = list(adapter.send(outgoing_of(paths)))
    assert [each.outcome for each in outcomes] == [Outcome.DELIVERED] * len(paths)
    assert remote.received() == by_uid(paths)
