"""Settings of sftp and rsync targets: what is wrong is named by its field."""

import json

import pytest

from crossdock.config.snapshot import parse_object
from crossdock.errors import ConfigError


FINGERPRINT = "SHA256:" + "a" * 43
PUBLIC = "ssh-ed25519 " + "A" * 68
TARGET = {
    "name": "trial",
    "host": "files.example",
    "user": "gateway",
    "password": "hunter2",
    "path": "/incoming",
}


def parsed(kind, **changes):
    document = {**TARGET, "type": kind, **changes}
    return parse_object("targets", {k: v for k, v in document.items() if v is not None})


def problems(kind, **changes):
    with pytest.raises(ConfigError) as caught:
        parsed(kind, **changes)
    return {problem.field: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize("kind", ["rsync", "sftp"])
@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"host": None}, "host", "is missing"),
        ({"host": "-oProxyCommand=id"}, "host", "not a host name"),
        ({"port": 0}, "port", "greater"),
        ({"user": None}, "user", "is missing"),
        ({"user": "-lroot"}, "user", "dash"),
        ({"user": "a\nb"}, "user", "seen"),
        ({"password": None}, "(document)", "password, a key, or both"),
        ({"password": ""}, "password", "1 to"),
        ({"key_passphrase": "x"}, "(document)", "needs its key"),
        ({"path": None}, "path", "is missing"),
        ({"path": ""}, "path", "1 to"),
        ({"path": "~/incoming"}, "path", "home"),
        ({"path": "a/../b"}, "path", ".."),
        ({"path": "/a\0b"}, "path", "control"),
        ({"host_key": {}}, "host_key", "exactly one"),
        ({"host_key": {"pinned": ["MD5:aa:bb"]}}, "host_key.pinned[0]", "SHA256"),
        ({"host_key": {"pinned": []}}, "host_key", "exactly one"),
        ({"host_key": {"known_hosts": "known_hosts"}}, "host_key.known_hosts", "absolute"),
        (
            {"host_key": {"pinned": [PUBLIC], "trust_on_first_use": True}},
            "host_key",
            "exactly one",
        ),
        ({"host_key": {"any": True}}, "host_key.any", "no such field"),
        ({"naming": "{PatientID}.dcm"}, "(document)", "SOPInstanceUID"),
        ({"file_mode": "999"}, "file_mode", "pattern"),
        ({"directory_mode": "rwx"}, "directory_mode", "pattern"),
        ({"direction": "query"}, "direction", "cannot be queried"),
        ({"timeout": 0}, "timeout", "greater"),
    ],
)
def test_a_mistake_is_named_by_its_field(kind, changes, field, said):
    assert said in problems(kind, **changes)[field]


@pytest.mark.parametrize(
    ("kind", "changes", "field"),
    [
        ("rsync", {"bandwidth": "400 KB/s"}, "bandwidth"),
        ("rsync", {"batch": 0}, "batch"),
        ("rsync", {"script": "../evil.sh"}, "script"),
        ("rsync", {"script": "a;b"}, "script"),
        ("rsync", {"script": "-x"}, "script"),
        ("rsync", {"script_seconds": 0}, "script_seconds"),
        ("rsync", {"files_in_flight": 4}, "files_in_flight"),
        ("sftp", {"files_in_flight": 65}, "files_in_flight"),
        ("sftp", {"script": "x.sh"}, "script"),
    ],
)
def test_what_only_one_of_them_has_is_checked_too(kind, changes, field):
    assert field in problems(kind, **changes)


@pytest.mark.parametrize("kind", ["rsync", "sftp"])
@pytest.mark.parametrize(
    "changes",
    [
        {"host_key": {"pinned": [FINGERPRINT, PUBLIC, PUBLIC + " root@files"]}},
        {"host_key": {"known_hosts": "/etc/crossdock/known_hosts"}},
        {"host_key": {"trust_on_first_use": True}},
        {"password": None, "key": "-----BEGIN OPENSSH PRIVATE KEY-----", "key_passphrase": "x"},
        {"key": {"file": "/run/secrets/key"}},
        {"host": "2001:db8::7", "port": 2222, "user": "DOMAIN\\user name"},
        {"path": "incoming/with space"},
    ],
)
def test_what_is_right_is_taken_and_written_down_without_its_secrets(kind, changes):
    target = parsed(kind, **changes)
    written = target.model_dump_json()
    assert "hunter2" not in written + repr(target) + str(target)
    assert "BEGIN OPENSSH" not in written + repr(target)
    assert parse_object("targets", json.loads(written)).model_dump(mode="json") == json.loads(
        written
    )
