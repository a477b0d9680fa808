"""docker-compose.yml in a real engine: it comes up green, and loses nothing when it is broken."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

import compose
from servers import require
from servers.dcmtk import ENVIRONMENT, run
from stack.house import BUCKET, KEY, SECRET, House
from studies import by_uid, make_ct
from waiting import until


pytestmark = pytest.mark.timeout(900)  # the first test builds the image and starts everything
TARGETS = ("orthanc", "research", "cloud")


def test_it_comes_up_with_a_green_overview_and_shows_its_demo(stack: House) -> None:
    stack.wait_ready()
    services = compose.ours(compose.document()["services"])
    page = stack.api.get("/").text
    assert page.count("● ready") == len(services)
    others = ("rabbitmq", "postgres", "orthanc")
    until(lambda: stack.healthy(*services, *others), what="all are healthy", step=1.0)
    until(lambda: stack.containers()["demo"]["State"] == "exited", what="the demo ends", step=1.0)
    assert stack.containers()["demo"]["ExitCode"] == 0, stack.compose("logs", "demo")
    until(lambda: _demo_arrived(stack), what="the demo's study", step=0.5)


def _demo_arrived(stack: House) -> bool:
    items = stack.api.get("/api/v1/deliveries", params={"limit": 100}).json()["items"]
    states = {(each["target"], each["state"]) for each in items}
    return states == {("orthanc", "delivered"), ("research", "delivered")}


def test_nobody_inside_is_reached_from_the_targets_network(stack: House) -> None:
    assert not _reaches(stack, "orthanc", "rabbitmq", 5672)
    assert not _reaches(stack, "orthanc", "postgres", 5432)
    assert not _reaches(stack, "rabbitmq", "orthanc", 4242)
    assert _reaches(stack, "router", "rabbitmq", 5672)
    assert _reaches(stack, "router", "orthanc", 4242)


def _reaches(stack: House, service: str, host: str, port: int) -> bool:
    attempt = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}' && echo open"
    return "open" in stack.compose("exec", "-T", service, "sh", "-c", attempt, check=False)


def test_a_study_reaches_a_folder_a_bucket_and_an_archive_though_broker_and_dispatchers_die(
    stack: House, tmp_path: Path
) -> None:
    stack.wait_ready()
    _configure(stack)
    first = make_ct(tmp_path / "first", 100, size=100_000)
    second = make_ct(tmp_path / "second", 100, size=100_000)
    studies = [str(dcmread(paths[0]).StudyInstanceUID) for paths in (first, second)]

    _send(stack, first)
    until(lambda: stack.in_orthanc(studies[0]), what="the first study is on its way", step=0.1)
    for service in ("dispatcher-dicom", "dispatcher-folder", "dispatcher-s3"):
        stack.kill_processes(service)
    with subprocess.Popen(_dcmsend(stack, second), env=ENVIRONMENT) as sending:
        stack.compose("kill", "--signal", "KILL", "rabbitmq")
        assert sending.wait(60) == 0, "who sends does not notice"
    assert "the broker cannot be reached" in str(stack.problems())
    stack.up("rabbitmq")

    until(lambda: _delivered(stack, studies), 180, "all is delivered", step=0.5)
    stack.wait_ready()
    expected = by_uid([*first, *second])
    assert stack.in_orthanc(studies[0]) | stack.in_orthanc(studies[1]) == expected.keys()
    in_bucket = by_uid(stack.in_bucket(tmp_path / "bucket"))
    assert in_bucket == expected
    in_folder = by_uid(stack.in_folder("/targets/stack", tmp_path / "folder"))
    assert in_folder == expected
    assert stack.cli("spool", "verify")


def _configure(stack: House) -> None:
    """Have everything sent to three targets, slowly enough to be interrupted."""
    stack.s3().create_bucket(Bucket=BUCKET)
    stack.compose("exec", "-T", "dispatcher-folder", "mkdir", "-p", "/targets/stack")
    slow = {"bandwidth": "2 MB/s"}
    targets: list[dict[str, Any]] = [
        {"name": "orthanc", "type": "dicom", "host": "orthanc", "port": 4242}
        | {"called_ae_title": "ORTHANC"},
        {"name": "research", "type": "folder", "path": "/targets/stack"},
        {"name": "cloud", "type": "s3", "endpoint": "http://s3:8333", "bucket": BUCKET}
        | {"access_key": KEY, "secret_key": SECRET},
    ]
    node = {"name": "main", "ae_title": "CROSSDOCK", "port": 11112, "accept": "any"}
    document = {
        "store_nodes": [node],
        "targets": [target | slow for target in targets],
        "rules": [{"name": "all", "targets": list(TARGETS)}],
    }
    answer = stack.api.put("/api/v1/gateway", json=document)
    assert answer.status_code == 200, answer.text
    stack.wait_ready()
    for target in TARGETS:
        report = stack.api.post(f"/api/v1/targets/{target}/check").json()
        assert report["green"], report


def _dcmsend(stack: House, paths: list[Path]) -> list[str]:
    to = ["-aec", "CROSSDOCK", "127.0.0.1", str(stack.dicom_port)]
    return [require("dcmsend"), *to, *map(str, paths)]


def _send(stack: House, paths: list[Path]) -> None:
    done = run("dcmsend", *_dcmsend(stack, paths)[1:])
    assert done.returncode == 0, done.stdout


def _delivered(stack: House, studies: list[str]) -> bool:
    """Whether the ledger knows each study as delivered to each target."""
    rows = [row for study in studies for row in stack.deliveries(study)]
    reached = {(row["study_instance_uid"], row["target"]) for row in rows}
    wanted = {(study, target) for study in studies for target in TARGETS}
    return reached == wanted and {row["state"] for row in rows} == {"delivered"}
