"""Rules and dashboards: Prometheus understands them, and whoever is woken knows what to do."""

import re
import shlex
import subprocess
import sys

import pytest
import typer
import yaml

from crossdock.cli.main import app
from monitoring import (
    GRAFANA,
    PROMETHEUS,
    RULES,
    alerts,
    dashboards,
    promtool,
    queries,
    section,
)


def test_prometheus_takes_the_configuration_with_all_rules():
    assert f"{len(alerts())} rules found" in promtool(
        "check", "config", PROMETHEUS / "prometheus.yml"
    )


def test_every_alert_fires_when_it_should_and_not_when_all_is_well():
    promtool("test", "rules", PROMETHEUS / "rules_test.yml")


def test_every_alert_is_among_those_that_are_tested_both_ways():
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    cases = [(test["name"], case) for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for _, case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for name, case in cases if name == "all is well"}
    assert fired == silent == alerts().keys()
    assert not any(case["exp_alerts"] for name, case in cases if name == "all is well")


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on(name):
    alert = alerts()[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    assert "{{ $" in alert["annotations"]["description"]
    assert alert["annotations"]["runbook_url"] == f"deploy/README.md#{name.lower()}"
    assert re.search(rf"^#### {name}\n+\w.{{40}}", section("Monitoring"), re.MULTILINE)


def test_the_handbook_has_no_paragraph_of_an_alert_that_is_gone():
    assert (
        set(re.findall(r"^#### (Crossdock\w+)$", section("Monitoring"), re.MULTILINE))
        == alerts().keys()
    )


def test_every_command_in_the_handbook_exists_with_its_options():
    said = set(re.findall(r"`crossdock ([^`]+)`", section("Monitoring").replace("\n", " ")))
    assert len(said) > 10
    for line in said - {"…", "spool …"}:
        command = typer.main.get_command(app)
        for word in shlex.split(line):
            commands = getattr(command, "commands", None)
            if commands is not None:
                assert word in commands, line
                command = commands[word]
            elif word.startswith("-"):
                known = {option for each in command.params for option in each.opts}
                assert word in known, line


@pytest.mark.parametrize("name", dashboards())
def test_prometheus_understands_every_query_of_a_dashboard(name, tmp_path):
    asked = queries(dashboards()[name])
    rules = [{"record": f"query_{number}", "expr": each} for number, each in enumerate(asked)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", file)


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_has_no_dead_panel_and_no_two_in_one_place(name):
    dashboard = dashboards()[name]
    assert all(panel["targets"] and panel["title"] for panel in dashboard["panels"])
    assert all(panel["datasource"]["uid"] == "prometheus" for panel in dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    for variable in dashboard["templating"]["list"]:
        assert any(f"${variable['name']}" in str(panel["targets"]) for panel in dashboard["panels"])


def test_the_dashboards_are_those_that_the_generator_writes(tmp_path):
    subprocess.run([sys.executable, "-B", GRAFANA / "generate.py", tmp_path], check=True)
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    kept = {file.name: file.read_text() for file in (GRAFANA / "dashboards").iterdir()}
    assert written == kept


def test_grafana_finds_the_source_and_the_dashboards_where_they_are_put():
    files = sorted((GRAFANA / "provisioning").glob("*/*.yml"))
    boards, sources = (yaml.safe_load(file.read_text()) for file in files)
    assert [each["uid"] for each in sources["datasources"]] == ["prometheus"]
    assert [each["type"] for each in boards["providers"]] == ["file"]


def test_the_rules_file_is_one_that_other_tools_take_as_it_is():
    assert yaml.safe_load(RULES.read_text()).keys() == {"groups"}
