"""What sftp and rsync have in common: who logs in, who the server is, and where files go."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.registry import REMOTES
from contract.remotes import outgoing_of, speaking
from contract.remotes_ssh import PASSWORD, SshRemote
from crossdock.config.targets import Target
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, CheckStage, Outcome
from crossdock.protocols import adapter_for
from servers.asyncssh_server import asyncssh_server
from servers.sshd import fingerprint, make_key, public, sshd
from studies import by_uid, make_ct


ACCOUNT = ("someone", PASSWORD)


@pytest.fixture(params=["rsync", "sftp"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SshRemote]:
    with REMOTES[request.param](tmp_path) as remote:
        assert isinstance(remote, SshRemote)
        yield remote


@pytest.fixture
def elsewhere() -> Iterator[dict[str, object]]:
    """Settings of a server that asks for a password."""
    with asyncssh_server(ACCOUNT) as (port, host_key):
        yield {
            "port": port,
            "user": ACCOUNT[0],
            "key": None,
            "host_key": {"pinned": [host_key]},
        }


def check(target: Target) -> CheckReport:
    with adapter_for(target) as adapter:
        return adapter.check()


def stage(target: Target, name: str) -> CheckStage:
    (found,) = [each for each in check(target).stages if each.name == name]
    return found


def failure(target: Target, paths: list[Path]) -> DeliveryError:
    with adapter_for(target) as adapter, pytest.raises(DeliveryError) as raised:
        list(adapter.send(outgoing_of(paths)))
    return raised.value


def test_another_host_key_than_the_pinned_one_is_its_own_answer(
    remote: SshRemote, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "another")
    for pin in (public(other), fingerprint(other)):
        target = remote.target(host_key={"pinned": [pin]})
        failed = stage(target, "host key")
        assert failed.state == "failed"
        assert "is not the pinned one" in failed.detail
        assert fingerprint(remote.sshd.host_key) in failed.detail
        assert "pin it" in failed.advice
        error = failure(target, make_ct(tmp_path / "ct", 1))
        assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)


def test_a_host_key_can_be_pinned_by_its_fingerprint_one_of_several(
    remote: SshRemote, tmp_path: Path
) -> None:
    pins = [fingerprint(make_key(tmp_path / "another")), fingerprint(remote.sshd.host_key)]
    found = stage(remote.target(host_key={"pinned": pins}), "host key")
    assert found.state == "ok"
    assert "as pinned" in found.detail
    assert pins[1] in found.detail


def test_a_known_hosts_file_says_who_the_server_is(remote: SshRemote, tmp_path: Path) -> None:
    known = tmp_path / "known hosts"
    known.write_text(f"[127.0.0.1]:{remote.sshd.port} {public(remote.sshd.host_key)}\n")
    target = remote.target(host_key={"known_hosts": str(known)})
    assert check(target).green
    known.write_text(f"other.example {public(remote.sshd.host_key)}\n")
    assert str(known) in stage(target, "host key").detail
    known.write_text("garbage\n")
    assert (
        "cannot be understood"
        in next(each for each in check(target).stages if each.state == "failed").detail
    )
    known.unlink()
    assert "No such file" in failure(target, make_ct(tmp_path / "ct", 1)).detail


def test_without_a_word_about_it_only_the_users_known_hosts_count(
    remote: SshRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    target = remote.target(host_key=None)
    failed = stage(target, "host key")
    assert failed.state == "failed"
    assert fingerprint(remote.sshd.host_key) in failed.detail
    known = tmp_path / ".ssh" / "known_hosts"
    known.parent.mkdir()
    known.write_text(f"[127.0.0.1]:{remote.sshd.port} {public(remote.sshd.host_key)}\n")
    assert stage(target, "host key").state == "ok"


def test_the_key_seen_first_is_trusted_and_from_then_on_no_other(
    remote: SshRemote, tmp_path: Path
) -> None:
    target = remote.target(host_key={"trust_on_first_use": True})
    assert "trusted now, at first sight" in stage(target, "host key").detail
    assert "trusted at first sight on 20" in stage(target, "host key").detail
    (kept,) = (tmp_path / "data" / "ssh").iterdir()
    assert kept.read_text().startswith(public(remote.sshd.host_key))
    kept.write_text(f"{public(make_key(tmp_path / 'another'))} 2026-01-01T00:00:00Z\n")
    failed = stage(target, "host key")
    assert failed.state == "failed"
    assert "trusted at first sight on 2026-01-01" in failed.detail
    assert failure(target, make_ct(tmp_path / "ct", 1)).kind is ErrorKind.MISCONFIGURED


def test_a_password_logs_in_and_a_wrong_one_is_unauthorised(
    remote: SshRemote, elsewhere: dict[str, object], tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 3)
    target = remote.target(**elsewhere, password=PASSWORD)
    assert check(target).green
    with adapter_for(target) as adapter:
        assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(paths)))
    assert remote.received() == by_uid(paths)
    wrong = remote.target(**elsewhere, password="wrong")
    assert stage(wrong, "authenticate").state == "failed"
    error = failure(wrong, paths)
    assert (error.kind, error.temporary) == (ErrorKind.UNAUTHORISED, False)


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_key_may_have_a_passphrase(remote: SshRemote, tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / f"key-{kind}", kind, passphrase="open sésame")
    with (tmp_path / "sshd" / "authorised").open("a") as authorised:
        authorised.write(public(key) + "\n")
    settings: dict[str, object] = {"password": None, "key": {"file": str(key)}}
    assert check(remote.target(**settings, key_passphrase="open sésame")).green
    without = failure(remote.target(**settings), make_ct(tmp_path / "ct", 1))
    wrong = failure(remote.target(**settings, key_passphrase="x"), make_ct(tmp_path / "ct", 1))
    assert without.kind is wrong.kind is ErrorKind.MISCONFIGURED
    assert "set key_passphrase" in without.detail
    assert "key_passphrase does not open the key" in wrong.detail


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": "no key at all"}, "no private key that is understood"),
        ({"key": {"file": "/nowhere/key"}}, "No such file"),
        ({"password": {"env": "NOT_SET_HERE"}}, "NOT_SET_HERE is not set"),
    ],
)
def test_credentials_that_cannot_be_had_are_said_before_anything_is_sent(
    remote: SshRemote, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    error = failure(remote.target(**changes), make_ct(tmp_path / "ct", 1))
    assert error.kind is ErrorKind.MISCONFIGURED
    assert words in error.detail
    failed = [each for each in check(remote.target(**changes)).stages if each.state == "failed"]
    assert words in failed[0].detail


def test_what_is_no_ssh_server_is_not_taken_for_one(remote: SshRemote, tmp_path: Path) -> None:
    with speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        target = remote.target(port=port, timeout=1, connect_timeout=1)
        assert not check(target).green
        error = failure(target, make_ct(tmp_path / "ct", 1))
    assert error.kind in (ErrorKind.MISCONFIGURED, ErrorKind.TIMEOUT, ErrorKind.UNREACHABLE)


def test_an_account_for_sftp_only_is_enough_for_sftp_and_not_for_rsync(
    remote: SshRemote, tmp_path: Path
) -> None:
    with sshd(tmp_path / "only", "ForceCommand internal-sftp") as peer:
        target = remote.target(**peer.settings())
        if target.type == "sftp":
            assert check(target).green
            return
        failed = stage(target, "authorise")
        assert "runs no rsync" in failed.detail
        assert failure(target, make_ct(tmp_path / "ct", 1)).kind is ErrorKind.MISCONFIGURED


@pytest.mark.parametrize(
    "name", ["with space", 'it\'s "quoted"', "$(touch canary)", "`x`;&|", "-x", "*", "日本", "a:b"]
)
def test_the_directory_may_have_any_name(remote: SshRemote, tmp_path: Path, name: str) -> None:
    path = remote.path / name
    path.mkdir()
    paths = make_ct(tmp_path / "ct", 2)
    outgoing = outgoing_of(paths)
    target = remote.target(path=str(path))
    with adapter_for(target) as adapter:
        assert adapter.check().green
        assert all(outcome.confirmed for outcome in adapter.send(outgoing))
        adapter.finish(outgoing)
    assert by_uid([*path.rglob("*.dcm")]) == by_uid(paths)
    assert [each.name for each in remote.path.iterdir()] == [name]


def test_a_file_in_place_is_replaced_and_what_is_beside_it_is_left(
    remote: SshRemote, tmp_path: Path
) -> None:
    paths = make_ct(tmp_path / "ct", 1)
    outgoing = outgoing_of(paths)
    folder = remote.path / "CHEST"
    elsewhere = remote.path / "unrelated" / ".complete"
    elsewhere.parent.mkdir()
    folder.mkdir()
    uid = outgoing[0].instance.sop_instance_uid
    (folder / f"{uid}.dcm").write_bytes(b"old" * 5000)
    kept = [elsewhere, folder / "other.dcm", folder / ".hidden", remote.path / ".complete"]
    for each in kept:
        each.touch()
    with adapter_for(remote.target(naming="{StudyDescription}/{SOPInstanceUID}.dcm")) as adapter:
        assert [each.outcome for each in adapter.send(outgoing)] == [Outcome.DELIVERED]
    assert by_uid([folder / f"{uid}.dcm"]) == by_uid(paths)
    assert all(each.exists() for each in kept)


def test_the_marker_is_there_only_while_the_directory_is_complete(
    remote: SshRemote, tmp_path: Path
) -> None:
    first = outgoing_of(make_ct(tmp_path / "first", 2))
    second = outgoing_of(make_ct(tmp_path / "second", 1))
    marker = remote.path / "CHEST" / ".complete"
    with adapter_for(remote.target(naming="{StudyDescription}/{SOPInstanceUID}.dcm")) as adapter:
        list(adapter.send(first))
        assert not marker.exists()
        adapter.finish(first)
        assert marker.read_bytes() == b""
        list(adapter.send(second))
        assert not marker.exists()
        adapter.finish(second)
        assert marker.exists()


def test_new_files_and_directories_have_the_permissions_of_the_settings(
    remote: SshRemote, tmp_path: Path
) -> None:
    before = remote.path.stat().st_mode
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 1))
    with adapter_for(remote.target(file_mode="600", directory_mode="700")) as adapter:
        list(adapter.send(outgoing))
        adapter.finish(outgoing)
    for path in remote.path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    assert remote.path.stat().st_mode == before


def test_the_files_meta_tells_no_address(remote: SshRemote, tmp_path: Path) -> None:
    with adapter_for(remote.target()) as adapter:
        list(adapter.send(outgoing_of(make_ct(tmp_path / "ct", 1))))
    (file,) = remote.files()
    assert b"10.0.0.7" not in file.read_bytes()
    assert b"CT1" in file.read_bytes()


def test_where_nothing_may_be_written_is_misconfigured(remote: SshRemote, tmp_path: Path) -> None:
    target = remote.target(path="/sys")
    assert stage(target, "authorise").state == "failed"
    error = failure(target, make_ct(tmp_path / "ct", 1))
    assert (error.kind, error.temporary) == (ErrorKind.MISCONFIGURED, False)
    assert "/sys" in error.detail


def test_a_relative_path_begins_in_the_accounts_home(remote: SshRemote, tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 1)
    with tempfile.TemporaryDirectory(dir=pwd.getpwuid(os.getuid()).pw_dir) as home:
        with adapter_for(remote.target(path=Path(home).name)) as adapter:
            assert adapter.check().green
            assert all(outcome.confirmed for outcome in adapter.send(outgoing_of(paths)))
        assert by_uid([*Path(home).rglob("*.dcm")]) == by_uid(paths)


def test_nothing_is_left_on_this_machine(remote: SshRemote, tmp_path: Path) -> None:
    outgoing = outgoing_of(make_ct(tmp_path / "ct", 3))
    with adapter_for(remote.target()) as adapter:
        adapter.check()
        outcomes = adapter.send(outgoing)
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]  # it is a generator
        list(adapter.send(outgoing))
        adapter.finish(outgoing)
    data = tmp_path / "data"
    assert [path for path in data.rglob("*") if path.is_file()] == []
