"""Secrets of a target: given once, used by the tester, and never read again by anybody."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from contract.plugins import installed
from machine import Machine
from waiting import until


PASSWORD = "open sesame"
TOKEN = "t0k3n-of-the-vault"
OTHER = "an0ther-t0k3n"
FROM_OUTSIDE = "t0k3n-from-the-environment"
KEPT = {"kept": True}
SECRETS = (PASSWORD, TOKEN, OTHER, FROM_OUTSIDE)
SEALED = "gAAAA"  # how every sealed secret begins


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """config-api and tester with the protocol of another package."""
    directory = tmp_path_factory.mktemp("machine")
    machine = Machine(directory / "data")
    machine.data.mkdir()
    machine.environment["PYTHONPATH"] = installed(directory / "package", "good")["PYTHONPATH"]
    machine.environment["VAULT_TOKEN"] = FROM_OUTSIDE
    locked(directory / "vault", TOKEN)
    try:
        machine.start("config_api")
        machine.start("tester")
        machine.address("config-api")
        machine.address("tester")
        yield machine
    finally:
        machine.stop()


def locked(drawer: Path, token: str) -> None:
    """Make a drawer that opens to the password and a token."""
    drawer.mkdir()
    (drawer / ".lock").write_text(f"{PASSWORD}\n{token}\n")


@pytest.fixture
def vault(machine: Machine) -> dict[str, Any]:
    """The settings of a target that is green."""
    return {
        "name": "vault",
        "type": "drawer",
        "login": {"user": "ali", "password": PASSWORD},
        "token": TOKEN,
        "path": str(machine.data.parent / "vault"),
    }


@pytest.fixture
def http(machine: Machine, vault: dict[str, Any]) -> Iterator[httpx.Client]:
    """The API of a gateway with that target."""
    url = f"{machine.address('config-api')}/api/v1/"
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
        http.put("gateway", json={}).raise_for_status()
        http.put("gateway", json={"targets": [vault]}).raise_for_status()
        yield http


def revision(http: httpx.Client) -> int:
    return int(http.get("gateway").headers["ETag"].strip('"'))


def is_green(http: httpx.Client) -> bool:
    """Check the saved target: whether the tester has the secrets."""
    answer = http.post("targets/vault/check")
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["green"])


def test_what_is_saved_is_used_and_shown_to_nobody(machine: Machine, http: httpx.Client) -> None:
    assert is_green(http)
    until(lambda: http.get("checks").json()["items"])
    number = revision(http)
    shown = [http.get("targets/vault").json(), http.get("targets").json()["items"][0]]
    shown += [http.get("gateway").json()["targets"][0]]
    shown += [http.get(f"revisions/{number}").json()["document"]["targets"][0]]
    for target in shown:
        assert target["token"] == KEPT
        assert target["login"] == {"user": "ali", "password": KEPT}
    paths = ("revisions", "checks", "targets/vault/checks", "openapi.json", "deliveries", "parcels")
    texts = [http.get(path).text for path in paths]
    root = machine.address("config-api")
    texts += [httpx.get(f"{root}{path}", timeout=60).text for path in ("/", "/metrics", "/readyz")]
    texts += [json.dumps(shown), machine.run("export").stdout]
    for text in texts:
        assert not [secret for secret in (*SECRETS, SEALED) if secret in text]


def test_what_is_exported_can_be_applied_and_keeps_the_secrets(
    machine: Machine, http: httpx.Client
) -> None:
    number = revision(http)
    exported = machine.run("export").stdout
    assert yaml.safe_load(exported)["targets"][0]["token"] == KEPT
    again = machine.run("apply", "-f", "-", stdin=exported)
    assert again.stdout == f"no change: revision {number} stays in force\n"
    described = exported.replace("name: vault\n", "name: vault\n  description: ours\n")
    changed = machine.run("apply", "-f", "-", stdin=described)
    assert changed.stdout.startswith("~ target vault (description)\n")
    assert is_green(http)


def test_the_same_file_applied_again_makes_no_revision(
    machine: Machine, http: httpx.Client, vault: dict[str, Any], tmp_path: Path
) -> None:
    number = revision(http)
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump({"targets": [vault]}))
    assert "no change" in machine.run("apply", "-f", str(file)).stdout
    assert revision(http) == number
    file.write_text(yaml.safe_dump({"targets": [{**vault, "token": OTHER}]}))
    assert machine.run("apply", "-f", str(file)).stdout.startswith("~ target vault (token)\n")
    assert not is_green(http)


def test_one_secret_is_changed_and_the_other_stays(http: httpx.Client) -> None:
    number = revision(http)
    assert http.patch("targets/vault", json={"token": TOKEN}).json()["token"] == KEPT
    assert http.patch("targets/vault", json={"token": KEPT}).json()["token"] == KEPT
    assert http.patch("targets/vault", json={"login": {"password": PASSWORD}}).status_code == 200
    assert revision(http) == number
    assert http.patch("targets/vault", json={"token": OTHER}).json()["token"] == KEPT
    assert not is_green(http)
    assert http.patch("targets/vault", json={"token": TOKEN}).status_code == 200
    assert is_green(http)
    http.patch("targets/vault", json={"login": {"user": "baba"}}).raise_for_status()
    assert is_green(http)
    assert http.post(f"revisions/{number}/restore").status_code == 200
    assert http.get("targets/vault").json()["login"]["user"] == "ali"
    assert is_green(http)


def test_a_secret_may_be_where_the_tester_is(
    http: httpx.Client, machine: Machine, vault: dict[str, Any]
) -> None:
    locked(machine.data.parent / "outside", FROM_OUTSIDE)
    vault["path"] = str(machine.data.parent / "outside")
    vault["token"] = {"env": "VAULT_TOKEN"}
    assert http.put("targets/vault", json=vault).json()["token"] == {"env": "VAULT_TOKEN"}
    assert is_green(http)
    http.patch("targets/vault", json={"token": {"env": "NOT_SET"}}).raise_for_status()
    stage = http.post("targets/vault/check").json()["report"]["stages"][1]
    assert "NOT_SET" in stage["detail"]


def test_settings_that_are_not_saved_are_checked_with_the_secrets_that_are(
    http: httpx.Client, vault: dict[str, Any]
) -> None:
    number = revision(http)
    edited = {**http.get("targets/vault").json(), "description": "edited"}
    assert http.post("checks", json=edited).json()["green"]
    assert http.post("checks", json=vault).json()["green"]
    assert not http.post("checks", json={**edited, "token": OTHER}).json()["green"]
    unknown = http.post("checks", json={**edited, "name": "unknown"})
    assert unknown.status_code == 422
    fields = {error["field"]: error["message"] for error in unknown.json()["errors"]}
    assert fields.keys() == {"login.password", "token"}
    assert "give it anew" in fields["token"]
    assert revision(http) == number


def test_what_is_sealed_with_the_first_key_already_stays_as_it_is(
    machine: Machine, http: httpx.Client
) -> None:
    number = revision(http)
    done = machine.run("secrets", "reseal")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"revision {number} is in force")
    assert done.stdout.rstrip().endswith("earlier revisions rewritten: 0")


def test_only_checks_of_what_is_saved_are_kept(http: httpx.Client, vault: dict[str, Any]) -> None:
    assert not http.post("checks", json={**vault, "token": OTHER}).json()["green"]
    assert is_green(http)
    until(lambda: http.get("targets/vault/checks").json()["items"])
    assert all(each["green"] for each in http.get("targets/vault/checks").json()["items"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "x" * 70_000},
        {"token": ""},
        {"token": {"plain": TOKEN, "env": "X"}},
        {"token": [TOKEN]},
        {"token": {"env": f"{TOKEN} "}},
        {"login": {"password": TOKEN}},
        {"login": TOKEN},
        {"check_seconds": -1},
    ],
)
def test_a_mistake_is_named_and_no_secret_is_quoted(
    http: httpx.Client, vault: dict[str, Any], wrong: dict[str, Any]
) -> None:
    for answer in (
        http.put("targets/vault", json={**vault, **wrong}),
        http.post("checks", json={**vault, **wrong}),
        http.put("gateway", json={"targets": [{**vault, **wrong}]}),
    ):
        assert answer.status_code == 422
        assert next(iter(wrong)) in answer.json()["errors"][0]["field"]
        assert not [secret for secret in SECRETS if secret in answer.text]


def test_no_secret_is_in_any_file_or_log(machine: Machine, http: httpx.Client) -> None:
    assert is_green(http)
    http.patch("targets/vault", json={"token": OTHER}).raise_for_status()
    until(lambda: (machine.data / "config" / "tester.json").read_text().count(SEALED) == 2)
    files = [path for path in machine.data.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # a message that was taken meanwhile
            continue
        assert not [secret for secret in SECRETS if secret.encode() in content], path
    log = machine.log.read_text()
    assert "check.finished" in log
    assert not [secret for secret in (*SECRETS, SEALED) if secret in log]
