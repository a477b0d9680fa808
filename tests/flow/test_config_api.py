"""config-api and tester as processes of their own, used through the command line."""

import json
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crossdock.bus import connect
from crossdock.config.client import ConfigClient
from machine import Machine, crossdock, dispatcher
from running import TOLD
from waiting import until


GATEWAY = """\
store_nodes:
  - {name: main, ae_title: CROSSDOCK, port: 11112, accept: any}
targets:
  - {name: research, type: folder, path: FOLDER}
rules:
  - name: ct
    when: 'Modality == "CT"'
    targets: [research]
"""


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "data")
    machine.data.mkdir()
    yield machine
    machine.stop()


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine") / "data")
    machine.data.mkdir()
    machine.start("config_api")
    machine.start("tester")
    machine.address("config-api")
    machine.address("tester")
    yield machine
    machine.stop()


@pytest.fixture
def gateway(shared_machine) -> Machine:
    """A machine on which nothing is configured."""
    url = shared_machine.address("config-api")
    httpx.put(f"{url}/api/v1/gateway", json={}, timeout=60).raise_for_status()
    return shared_machine


def revision(machine: Machine) -> int:
    url = machine.address("config-api")
    return int(httpx.get(f"{url}/api/v1/gateway", timeout=60).headers["etag"].strip('"'))


@pytest.fixture
def gateway_yaml(tmp_path) -> Path:
    folder = tmp_path / "research"
    folder.mkdir()
    file = tmp_path / "gateway.yaml"
    file.write_text(GATEWAY.replace("FOLDER", str(folder)))
    return file


def test_a_file_is_applied_exported_and_applied_again_without_a_change(gateway, gateway_yaml):
    dry = gateway.run("apply", "-f", str(gateway_yaml), "--dry-run")
    assert dry.exit_code == 0, dry.stderr
    assert "dry run" in dry.stdout
    number = revision(gateway)
    applied = gateway.run("apply", "-f", str(gateway_yaml))
    assert applied.stdout.splitlines() == [
        "+ store node main",
        "+ target research",
        "+ rule ct",
        f"revision {number + 1} is in force",
    ]
    exported = gateway.run("export")
    again = gateway.run("apply", "-f", "-", stdin=exported.stdout)
    assert again.stdout == f"no change: revision {number + 1} stays in force\n"
    changed = exported.stdout.replace("11112", "11113")
    more = gateway.run("apply", "-f", "-", stdin=changed)
    assert more.stdout.splitlines()[0] == "~ store node main (port)"


def test_a_mistake_in_a_file_is_named_with_its_line(gateway, gateway_yaml):
    gateway_yaml.write_text(gateway_yaml.read_text().replace("Modality", "Modalitty"))
    answer = gateway.run("apply", "-f", str(gateway_yaml))
    assert answer.exit_code == 1
    assert f"{gateway_yaml}:7: rules[0].when: " in answer.stderr
    assert "did you mean 'Modality'?" in answer.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("targets: []\ntargets: []\n", "standard input:2: 'targets' is there twice"),
        ("targets: [\n", "standard input:2: "),
        ("- a\n", "standard input: write store_nodes, targets and rules at the top level"),
        ("x: !!python/object/apply:os.system [id]\n", "standard input:1: "),
    ],
)
def test_a_file_that_is_no_yaml_for_us_is_refused_before_anything_is_asked(text, said):
    answer = crossdock("apply", "-f", "-", stdin=text)
    assert answer.exit_code == 1
    assert answer.stderr.startswith(said)


def test_nobody_answering_is_said_in_plain_words():
    answer = crossdock("export", "--api", "http://127.0.0.1:1")
    assert answer.exit_code == 3
    assert answer.stderr == ("nothing answers at http://127.0.0.1:1: is `crossdock up` running?\n")


def test_a_target_is_checked_saved_and_unsaved(gateway, gateway_yaml, tmp_path):
    gateway.run("apply", "-f", str(gateway_yaml))
    green = gateway.run("check", "research")
    assert green.exit_code == 0, green.stdout + green.stderr
    assert "research can be used" in green.stdout
    (tmp_path / "dead.yaml").write_text(
        "{type: dicom, host: 127.0.0.1, port: 1, called_ae_title: DEAD}"
    )
    red = gateway.run("check", "--settings", str(tmp_path / "dead.yaml"))
    assert red.exit_code == 1, red.stdout + red.stderr
    assert "failed" in red.stdout
    assert "cannot be used" in red.stdout
    unknown = gateway.run("check", "nowhere")
    assert unknown.exit_code == 1
    assert "There is no target 'nowhere'." in unknown.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("{type: dicom, host: 127.0.0.1, port: 0, called_ae_title: DEAD}")
    assert "port: " in gateway.run("check", "--settings", str(wrong)).stderr


def test_a_target_is_checked_by_the_clock_and_what_was_found_is_kept(gateway, gateway_yaml):
    assert gateway.run("check", "--last").exit_code == 1
    gateway.run("apply", "-f", str(gateway_yaml))
    assert gateway.run("check", "research", "--history").exit_code in (0, 1)
    last = until(lambda: (said := gateway.run("check", "--last")).exit_code == 0 and said)
    assert re.search(r"research +green +\d{4}-\d\d-\d\d .* \d{4}-\d\d-\d\d", last.stdout)
    metrics = f"{gateway.address('tester')}/metrics"
    assert (
        'crossdock_target_up{protocol="folder",target="research"} 1.0'
        in httpx.get(metrics, timeout=60).text
    )
    (gateway_yaml.parent / "research").rmdir()
    assert gateway.run("check", "research").exit_code == 1
    red = until(
        lambda: (said := gateway.run("check", "research", "--last")).exit_code == 1 and said
    )
    assert "exists" in red.stdout
    assert red.stdout.startswith("checked 2")
    history = gateway.run("check", "research", "--history")
    assert history.exit_code == 0
    assert [line.split()[1] for line in history.stdout.splitlines()[1:3]] == ["red", "green"]
    gateway.run("apply", "-f", "-", "--waiting", "discard", stdin="{}")
    until(lambda: "crossdock_target_up{" not in httpx.get(metrics, timeout=60).text)
    for wrong in (("--history",), ("--last", "--history", "x"), ()):
        assert gateway.run("check", *wrong).exit_code == 2


def test_a_target_is_checked_from_where_the_dispatcher_is(gateway, gateway_yaml):
    gateway.run("apply", "-f", str(gateway_yaml))
    number = revision(gateway)
    folder = ("--protocol", "folder", "--check")
    green = dispatcher(gateway.data, *folder, "research")
    assert green.returncode == 0, green.stderr
    assert "research can be used" in green.stdout
    assert green.stderr == ""
    (gateway_yaml.parent / "research").rmdir()
    red = dispatcher(gateway.data, *folder, "research")
    assert red.returncode == 1
    assert re.search("exists +failed", red.stdout)
    unknown = dispatcher(gateway.data, *folder, "nowhere")
    assert unknown.returncode == 1
    assert unknown.stderr == f"crossdock: there is no target 'nowhere' in revision {number}\n"
    others = dispatcher(gateway.data, "--protocol", "dicom", "--check", "research")
    assert "protocol folder" in others.stderr


def test_without_config_api_a_target_is_checked_by_the_copy_here(tmp_path):
    nothing = dispatcher(tmp_path, "--check", "research")
    assert nothing.returncode == 1
    assert "no configuration" in nothing.stderr
    target = {"name": "research", "type": "folder", "path": str(tmp_path)}
    published = {"type": "config.published", "revision": 7, "document": {"targets": [target]}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "dispatcher.json").write_text(json.dumps(published))
    for broker in ("", "amqp://127.0.0.1:1"):
        checked = dispatcher(tmp_path, "--check", "research", CROSSDOCK_BROKER=broker)
        assert checked.returncode == 0, checked.stderr
        assert checked.stderr == "config-api does not answer: by the copy of revision 7 here\n"


def test_deliveries_of_an_empty_ledger(gateway):
    assert gateway.run("deliveries", "list").stdout == "no deliveries\n"
    assert json.loads(gateway.run("deliveries", "list", "--json").stdout) == []
    missing = gateway.run("deliveries", "show", "p-x")
    assert missing.exit_code == 1
    assert "There is no delivery 'p-x'." in missing.stderr
    wrong = gateway.run("deliveries", "list", "--state", "lost")
    assert "state: " in wrong.stderr


def test_a_service_works_by_a_change_before_it_asks_for_it(gateway, gateway_yaml, tmp_path):
    broker = f"filesystem://{gateway.data / 'broker'}"
    seen = []
    with connect(broker, name="probe") as bus:
        client = ConfigClient(bus, "probe", tmp_path / "copy.json", lambda now, _: seen.append(now))
        client.start()
        until(lambda: client.revision == revision(gateway))
        before = client.revision
        assert gateway.run("apply", "-f", str(gateway_yaml)).exit_code == 0
        until(lambda: client.revision == before + 1, TOLD)
        assert seen[-1].target("research") is not None
        client.close()


def test_a_token_is_asked_for_and_sent(machine):
    machine.start("config_api", CROSSDOCK_API_TOKEN="s3cret")
    url = machine.address("config-api")
    assert httpx.get(f"{url}/api/v1/targets", timeout=60).status_code == 401
    refused = machine.run("export")
    assert refused.exit_code == 1
    assert "CROSSDOCK_API_TOKEN" in refused.stderr
    assert machine.run("export", CROSSDOCK_API_TOKEN="s3cret").exit_code == 0


def test_it_refuses_to_listen_on_the_network_without_a_token(machine):
    process = machine.start("config_api", CROSSDOCK_HTTP="0.0.0.0:0")
    assert process.wait(60) == 2
    said = machine.log.read_text()
    assert "CROSSDOCK_API_TOKEN" in said


def test_an_address_in_use_is_said_in_plain_words(machine):
    machine.start("config_api")
    taken = machine.address("config-api").removeprefix("http://")
    second = machine.start("config_api", CROSSDOCK_HTTP=taken)
    assert second.wait(60) == 2
    assert f"cannot listen on {taken}" in machine.log.read_text()


@pytest.mark.parametrize("module", ["config_api", "tester"])
def test_it_stops_within_ten_seconds_of_sigterm(machine, module):
    process = machine.start(module)
    url = machine.address(module.replace("_", "-"))
    until(lambda: httpx.get(f"{url}/healthz", timeout=60).status_code == 200)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert list((machine.data / "run").iterdir()) == []


def test_the_log_is_structured_and_holds_no_secret(machine, gateway_yaml):
    token = uuid.uuid4().hex
    machine.start("config_api", CROSSDOCK_API_TOKEN=token)
    machine.run("apply", "-f", str(gateway_yaml), CROSSDOCK_API_TOKEN=token)
    text = machine.log.read_text()
    events = [json.loads(line)["event"] for line in text.splitlines()]
    assert "config.changed" in events
    assert token not in text
    assert not re.search(r"GET|PUT", text)
