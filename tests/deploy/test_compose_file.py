"""docker-compose.yml: what it names exists, and nobody has more rights than needed."""

import re
from pathlib import Path
from typing import Any

import pytest

import compose
import program
from crossdock import __version__
from crossdock.protocols import ADAPTERS


DOCUMENT = compose.document()
SERVICES: dict[str, Any] = DOCUMENT["services"]
OURS = compose.ours(SERVICES)
EVERY = pytest.mark.parametrize("name", SERVICES)
EACH_OF_OURS = pytest.mark.parametrize("name", OURS)
PUBLISHED = {"receiver": "11112:11112", "config-api": "127.0.0.1:8080:8080"}
FOR_A_LOOK = {"grafana": "127.0.0.1:3000:3000", "orthanc": "127.0.0.1:8042:8042"}


def test_every_service_of_ours_is_there() -> None:
    alone = {"receiver", "router", "tester", "config-api"}
    protocols = {protocol.partition("+")[0] for protocol in ADAPTERS}
    assert OURS.keys() == alone | {f"dispatcher-{protocol}" for protocol in protocols}


@EACH_OF_OURS
def test_its_command_is_one_of_the_program(name: str) -> None:
    protocols = program.parsed(*OURS[name]["command"]).get("protocol")
    if protocols is not None:
        assert {protocol.partition("+")[0] for protocol in protocols} == {name.partition("-")[2]}


def test_the_dispatchers_serve_all_protocols() -> None:
    commands = [service["command"] for service in OURS.values()]
    served = [word for command in commands for word in command[1:] if word != "--protocol"]
    assert sorted(served) == sorted(ADAPTERS)


@EVERY
def test_the_program_knows_each_variable(name: str) -> None:
    variables = SERVICES[name].get("environment", {})
    ours = {each for each in variables if each.startswith("CROSSDOCK_")}
    assert {each.removesuffix("_FILE") for each in ours} <= program.variables()
    assert name not in OURS or OURS[name]["environment"]["CROSSDOCK_HTTP"].endswith(":8080")


@EVERY
def test_what_it_mounts_exists(name: str) -> None:
    for place in compose.mounts(SERVICES[name]).values():
        if not place.startswith("./"):
            assert place in DOCUMENT["volumes"]
            continue
        assert (compose.ROOT / place).exists(), place


def test_every_volume_is_used() -> None:
    used = {place for each in SERVICES.values() for place in compose.mounts(each).values()}
    assert set(DOCUMENT["volumes"]) <= used


def test_the_secrets_are_what_the_script_makes(tmp_path: Path) -> None:
    compose.make_secrets(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    for name, secret in DOCUMENT["secrets"].items():
        assert before[Path(secret["file"]).name], name
    compose.make_secrets(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert tmp_path.stat().st_mode & 0o077 == 0


@EVERY
def test_each_secret_that_it_reads_is_given_to_it(name: str) -> None:
    service = SERVICES[name]
    given = {each for each in service.get("secrets", ()) if isinstance(each, str)}
    read = {
        value.removeprefix("/run/secrets/")
        for value in service.get("environment", {}).values()
        if str(value).startswith("/run/secrets/")
    }
    assert read == given


@EVERY
def test_it_is_confined(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert limits["pids"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= 10
    assert service["restart"] in ("unless-stopped", "no")
    assert "healthcheck" in service or name in OURS, "ours is in the image"


@EVERY
def test_only_receiver_and_config_api_are_published(name: str) -> None:
    allowed = PUBLISHED | FOR_A_LOOK
    assert SERVICES[name].get("ports", []) == ([allowed[name]] if name in allowed else [])
    outside = {"targets"} if name == "orthanc" else {"inside"}
    assert outside <= set(SERVICES[name]["networks"])


def test_the_inside_has_no_way_out() -> None:
    assert DOCUMENT["networks"]["inside"] == {"internal": True}
    assert SERVICES["rabbitmq"]["networks"] == SERVICES["postgres"]["networks"] == ["inside"]


@EVERY
def test_it_waits_until_what_it_needs_is_healthy(name: str) -> None:
    needs = SERVICES[name].get("depends_on", {})
    assert all(each == {"condition": "service_healthy"} for each in needs.values())
    assert name not in OURS or {"rabbitmq"} <= needs.keys()


def test_config_api_asks_every_other_service() -> None:
    asked = OURS["config-api"]["environment"]["CROSSDOCK_REQUIRES"].split(",")
    others = OURS.keys() - {"config-api"}
    assert {each.strip() for each in asked} == {f"{name}:8080" for name in others}


def test_the_spool_is_where_it_is_read_and_nowhere_else() -> None:
    with_spool = {name for name, each in OURS.items() if "/data/spool" in compose.mounts(each)}
    assert with_spool == OURS.keys() - {"tester", "config-api"}


def test_the_images_are_pinned_and_ours_has_this_version() -> None:
    for service in SERVICES.values():
        image, _, tag = service["image"].partition(":")
        assert re.match(r"v?\d+\.\d+", tag), image
        assert not image.startswith("crossdock") or tag == __version__
    text = (compose.ROOT / "deploy/Dockerfile").read_text()
    assert f"ARG VERSION={__version__}\n" in text
    bases = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert len(bases) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-bookworm", bases.pop())


def test_what_the_dockerfile_copies_is_let_through() -> None:
    text = (compose.ROOT / "deploy/Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    allowed = (compose.ROOT / ".dockerignore").read_text().splitlines()
    for name in " ".join(copied).split():
        assert (compose.ROOT / name).exists()
        assert f"!{name}" in allowed


def test_the_locks_agree() -> None:
    def pinned(file: str) -> set[str]:
        lines = (compose.ROOT / file).read_text().splitlines()
        return {line for line in lines if "==" in line}

    assert pinned("requirements.lock") <= pinned("deploy/requirements.lock")
    assert pinned("deploy/requirements.lock") <= pinned("requirements-dev.lock")
