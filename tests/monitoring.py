"""What ``deploy/`` has for Prometheus and Grafana, as the tests look at it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from servers import require


DEPLOY = Path(__file__).parents[1] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = PROMETHEUS / "rules" / "crossdock.yml"
GRAFANA = DEPLOY / "grafana"


def section(title: str) -> str:
    """Return a part of the handbook, from its heading to the next of that level."""
    _, _, rest = (DEPLOY / "README.md").read_text().partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def promtool(*arguments: object) -> str:
    """Run Prometheus's own tool; return what it says when all is well."""
    done = subprocess.run(
        [require("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Return the metrics of the handbook's table: name → type and labels."""
    rows = re.findall(
        r"^\| `(crossdock_\w+)` \| (\w+) \| (.*?) ?\|", section("Monitoring"), re.MULTILINE
    )
    assert len({name for name, _, _ in rows}) == len(rows)
    return {
        name: (kind, frozenset(filter(None, labels.split(", ")))) for name, kind, labels in rows
    }


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    return {rule["alert"]: rule for rule in rules}


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by file name."""
    files = (GRAFANA / "dashboards").glob("*.json")
    return {file.name: json.loads(file.read_text()) for file in files}


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Return what its panels ask Prometheus, with the variables of Grafana filled in."""
    asked = [query["expr"] for panel in dashboard["panels"] for query in panel["targets"]]
    return [each.replace("$__rate_interval", "1m").replace('=~"$', '=~"') for each in asked]


def metrics_in(query: str) -> set[str]:
    """Return the metrics that a query is about, histograms by their own name."""
    names = re.findall(r"\b(?:crossdock|rabbitmq|process)_\w+", re.sub(r'"[^"]*"', "", query))
    return {re.sub("_bucket$", "", name) for name in names}
