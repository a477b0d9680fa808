"""Protocols that packages of somebody else bring: found, held to the contract, and harmless."""

import json
import subprocess
import sys
from pathlib import Path

from contract.plugins import installed


_ROOT = Path(__file__).parents[2]
_FOUND = """
import json
from crossdock.config.targets import MODELS
from crossdock.protocols import ADAPTERS
print(json.dumps([sorted(MODELS), list(ADAPTERS)]))
"""
_CHECKED = """
from crossdock.config.snapshot import parse_object
from tester.checks import _report
print(_report(parse_object("targets", {"name": "t", "type": "lonely"})).model_dump_json())
"""


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: PLW1510 — the exit code is for the test to judge
        [sys.executable, *words],
        env=environment,
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=55,
    )


def test_the_contract_suite_runs_on_a_plug_in(tmp_path: Path) -> None:
    suite = ["-m", "pytest", "-q", "-p", "drawer_remote", "-p", "no:cacheprovider"]
    options = [f"--basetemp={tmp_path / 'temp'}", "-k", "drawer", "tests/contract/test_adapters.py"]
    done = run(installed(tmp_path / "site", "good"), *suite, *options)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_a_broken_plug_in_costs_only_itself(tmp_path: Path) -> None:
    done = run(installed(tmp_path / "site", "good", "broken"), "-c", _FOUND)
    assert done.returncode == 0, done.stderr
    *told, found = done.stdout.splitlines()
    models, adapters = json.loads(found)
    assert {"dicom", "drawer", "folder", "lonely"} <= set(models)
    assert {"dicom", "drawer", "folder"} <= set(adapters)
    broken = {"falling", "no name", "other", "another", "untold", "strange"}
    assert not broken & {*models, *adapters}
    assert "lonely" not in adapters
    assert adapters == sorted(adapters)
    log = "\n".join(told) + done.stderr
    assert log.count("plugin.unusable") == 9
    for words in ("no licence for this machine", "there is a protocol 'dicom' already"):
        assert words in log


def test_a_target_without_an_adapter_is_told_by_its_check(tmp_path: Path) -> None:
    done = run(installed(tmp_path / "site", "broken"), "-c", _CHECKED)
    assert done.returncode == 0, done.stderr
    (stage,) = json.loads(done.stdout.splitlines()[-1])["stages"]
    assert stage["state"] == "failed"
    assert "no adapter for lonely is installed here" in stage["detail"]
    assert stage["advice"]
