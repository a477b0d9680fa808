"""What only the sftp adapter can get wrong: files in flight, resuming, servers that can less."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from pydicom import dcmread

from contract.remotes import outgoing_of
from contract.remotes_ssh import PASSWORD, SftpRemote
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import Outcome
from crossdock.protocols import Outgoing, adapter_for
from crossdock.protocols.payload import Payload
from crossdock.protocols.sftp.failures import of_session
from crossdock.protocols.sftp.uploads import temporary_name
from servers.asyncssh_server import Sftp, asyncssh_server
from servers.line import line
from servers.samples import write_instance
from servers.sshd import sshd
from studies import by_uid, make_ct


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[SftpRemote]:
    with SftpRemote(tmp_path) as remote:
        yield remote


class Counting(Sftp):
    """A server that counts the bytes that it is given."""

    written = 0

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        type(self).written += len(data)
        return super().write(file_obj, offset, data)  # type: ignore[no-any-return,unused-ignore]


def large(tmp_path: Path) -> Outgoing:
    """Return an instance that is worth resuming."""
    path = tmp_path / "large.dcm"
    write_instance(path, 48_000_000)
    (outgoing,) = outgoing_of([path])
    return outgoing


@pytest.mark.parametrize("sound", [True, False])
def test_an_upload_goes_on_where_it_was_cut_if_what_is_there_is_its_beginning(
    remote: SftpRemote, tmp_path: Path, sound: bool
) -> None:
    outgoing = large(tmp_path)
    with Payload(outgoing) as payload:
        part = payload.pread(payload.size - 1_000_000, 0)
    counting = type("Counted", (Counting,), {"written": 0})
    with asyncssh_server(("someone", PASSWORD), counting) as (port, host_key):
        account = {"port": port, "user": "someone", "key": None, "password": PASSWORD}
        pinned = {"host_key": {"pinned": [host_key]}}
        target = remote.target(naming="{SOPInstanceUID}.dcm", **account, **pinned)
        with adapter_for(target) as adapter:
            left = remote.path / temporary_name(target, outgoing)
            left.write_bytes(part if sound else b"\xff" * len(part))
            (outcome,) = adapter.send([outgoing])
    assert outcome.outcome is Outcome.DELIVERED
    assert remote.received() == by_uid([outgoing.path])
    assert (counting.written < 10_000_000) is sound  # type: ignore[attr-defined]  # its own


@pytest.mark.parametrize("denied", ["fsync,posix-rename,limits,statvfs", "posix-rename"])
def test_a_server_that_can_less_is_enough(remote: SftpRemote, tmp_path: Path, denied: str) -> None:
    paths = make_ct(tmp_path / "ct", 3, size=200_000)
    internal = f"Subsystem sftp internal-sftp -P {denied}"
    with sshd(tmp_path / "less", internal, subsystem=False) as peer:
        for _ in range(2):
            outgoing = outgoing_of(paths)
            with adapter_for(remote.target(**peer.settings())) as adapter:
                report = adapter.check()
                assert report.green
                assert all(outcome.confirmed for outcome in adapter.send(outgoing))
                adapter.finish(outgoing)
    (authorise,) = [each for each in report.stages if each.name == "authorise"]
    assert "the server cannot" in authorise.detail
    assert remote.received() == by_uid(paths)


def test_an_account_in_a_cage_is_enough(remote: SftpRemote, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can put an account into a cage")
    # Everything above the cage must be root's own, which directories for temporary files are not.
    with tempfile.TemporaryDirectory(dir="/run") as cage:
        Path(cage).chmod(0o755)
        (Path(cage) / "in").mkdir()
        with sshd(
            tmp_path / "cage", f"ChrootDirectory {cage}", "ForceCommand internal-sftp"
        ) as peer:
            paths = make_ct(tmp_path / "ct", 2)
            with adapter_for(remote.target(**peer.settings(path="/in"))) as adapter:
                assert adapter.check().green
                assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(paths)))
            assert by_uid([*Path(cage).rglob("*.dcm")]) == by_uid(paths)


def test_what_a_killed_worker_left_is_replaced_and_never_seen(
    remote: SftpRemote, tmp_path: Path
) -> None:
    (outgoing,) = outgoing_of(make_ct(tmp_path / "ct", 1))
    target = remote.target(naming="{SOPInstanceUID}.dcm", complete_marker=False)
    with adapter_for(target) as adapter:
        (remote.path / temporary_name(target, outgoing)).write_bytes(b"half" * 10_000)
        assert [each.confirmed for each in adapter.send([outgoing])] == [True]
    assert len(remote.files()) == 1
    assert remote.received() == by_uid([outgoing.path])


def test_of_two_instances_of_one_name_the_last_one_stays(
    remote: SftpRemote, tmp_path: Path
) -> None:
    first, second = make_ct(tmp_path / "ct", 2, size=300_000)
    ds = dcmread(second)
    ds.SOPInstanceUID = dcmread(first).SOPInstanceUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(second)
    with adapter_for(remote.target()) as adapter:
        outcomes = list(adapter.send(outgoing_of([first, second])))
    assert [each.confirmed for each in outcomes] == [True, True]
    assert remote.received() == by_uid([second])


def test_a_delivery_that_is_given_up_leaves_the_connection_usable(
    remote: SftpRemote, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 40, size=400_000)
    with adapter_for(remote.target()) as adapter:
        outcomes = adapter.send(outgoing_of(paths))
        assert next(outcomes).confirmed
        outcomes.close()  # type: ignore[attr-defined]  # it is a generator
        assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(paths)))
    assert remote.received() == by_uid(paths)
    assert [path for path in remote.files() if path.suffix == ".part"] == []


def test_a_connection_that_died_while_idle_is_unreachable_and_opened_anew(
    remote: SftpRemote, tmp_path: Path
) -> None:
    servers: list[Sftp] = []
    noting = type("Noting", (Sftp,), {"on_rename": lambda server, _path: servers.append(server)})
    paths = make_ct(tmp_path / "ct", 2)
    with asyncssh_server(("someone", PASSWORD), noting) as (port, host_key):
        account = {"port": port, "user": "someone", "key": None, "password": PASSWORD}
        target = remote.target(**account, host_key={"pinned": [host_key]})
        with adapter_for(target) as adapter:
            assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(paths)))
            servers[0].connection.abort()
            with pytest.raises(DeliveryError) as raised:
                list(adapter.send(outgoing_of(paths)))
            assert raised.value.kind is ErrorKind.UNREACHABLE
            assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(paths)))


def test_a_far_server_may_take_its_time_over_all_of_an_instance_but_not_over_one_answer(
    remote: SftpRemote, tmp_path: Path
) -> None:
    near, far = outgoing_of(make_ct(tmp_path / "ct", 2))
    naming = "{InstanceNumber}/a/b/c/d/e/f/g/{SOPInstanceUID}.dcm"
    with line(remote.target().port) as wire:
        target = remote.target(port=wire.port, naming=naming, timeout=1)
        with adapter_for(target) as adapter:
            assert [each.confirmed for each in adapter.send([near])] == [True]
            wire.delay = 0.1  # a directory that is to be made takes two exchanges
            began = time.monotonic()
            assert [each.confirmed for each in adapter.send([far])] == [True]
    assert time.monotonic() - began > 2


def test_a_full_disk_is_busy_until_there_is_room(remote: SftpRemote) -> None:
    error = of_session(asyncssh.SFTPFailure("Failure"), remote.target())  # type: ignore[arg-type]
    assert (error.kind, error.temporary) == (ErrorKind.BUSY, True)
    assert "room" in error.detail


def test_a_directory_under_the_final_name_refuses_the_one_instance(
    remote: SftpRemote, tmp_path: Path
) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 3))
    name = f"{outgoing[1].instance.sop_instance_uid}.dcm"
    (remote.path / name / "something").mkdir(parents=True)
    with adapter_for(remote.target(naming="{SOPInstanceUID}.dcm")) as adapter:
        outcomes = list(adapter.send(outgoing))
    assert [each.confirmed for each in outcomes] == [True, False, True]
    assert "directory" in outcomes[1].detail
    assert [path for path in remote.files() if path.name.startswith(".")] == []
    shutil.rmtree(remote.path / name)
