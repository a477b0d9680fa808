"""The panels and dashboards of Grafana, as far as Crossdock uses them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


Json = dict[str, Any]
Row = tuple[int, list["Panel"]]
"""A height, and panels of the same width."""

GOOD_IS_ZERO = ((None, "green"), (1, "red"))
GOOD_IS_ONE = ((None, "red"), (1, "green"))
NOTED = ((None, "green"), (1, "yellow"))
UNTIL_AN_HOUR = ((None, "green"), (900, "yellow"), (3600, "red"))
UNTIL_TWO_WEEKS = ((None, "red"), (14 * 86400, "yellow"), (30 * 86400, "green"))
SHARE_LEFT = ((None, "red"), (0.1, "yellow"), (0.25, "green"))
YES_NO = {"1": {"text": "yes"}, "0": {"text": "no"}}

_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_COLUMNS = 24
_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "background",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "table": {"showHeader": True},
}


@dataclass(frozen=True)
class Panel:
    """What one panel shows: queries as (expression, legend), and how."""

    title: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "short"
    thresholds: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    yes_no: bool = False
    note: str = ""

    def json(self, number: int, place: Json) -> Json:
        """Return the panel as Grafana has it."""
        steps = [{"value": value, "color": color} for value, color in self.thresholds]
        defaults: Json = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": [{"type": "value", "options": YES_NO}] if self.yes_no else [],
        }
        if self.kind == "timeseries":
            defaults |= {"min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}}
        return {
            "id": number,
            "title": self.title,
            "description": self.note,
            "type": self.kind,
            "datasource": _SOURCE,
            "gridPos": place,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [self._target(*each) for each in zip("ABC", self.queries, strict=False)],
        }

    def _target(self, letter: str, query: tuple[str, str]) -> Json:
        expression, legend = query
        return {
            "refId": letter,
            "datasource": _SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "format": "table" if self.kind == "table" else "time_series",
            "range": self.kind == "timeseries",
            "instant": self.kind != "timeseries",
        }


def number(title: str, expression: str, **how: Any) -> Panel:
    """Return a panel with one number."""
    return Panel(title, ((expression, ""),), "stat", **how)


def numbers(title: str, by: str, expression: str, **how: Any) -> Panel:
    """Return a panel with a number for each value of a label."""
    return Panel(title, ((expression, _legend(by)),), "stat", **how)


def table(title: str, expression: str) -> Panel:
    """Return a panel with a line for each series."""
    return Panel(title, ((expression, ""),), "table")


def graph(title: str, by: str, *expressions: str, **how: Any) -> Panel:
    """Return a panel with a curve for each value of the labels ``by`` (``a, b``)."""
    return Panel(title, tuple((each, _legend(by)) for each in expressions), **how)


def pace(title: str, metric: str, by: str, chosen: str = "", unit: str = "cps") -> Panel:
    """Return a panel with the pace of a counter, by some labels."""
    return graph(title, by, f"sum by ({by}) (rate({metric}{chosen}[$__rate_interval]))", unit=unit)


def quantiles(title: str, histogram: str, chosen: str = "") -> Panel:
    """Return a panel with the median and the 95th percentile of a histogram in seconds."""
    buckets = f"sum by (le) (rate({histogram}_bucket{chosen}[$__rate_interval]))"
    shares = (("0.5", "half"), ("0.95", "95 %"))
    queries = ((f"histogram_quantile({share}, {buckets})", name) for share, name in shares)
    return Panel(title, tuple(queries), unit="s")


def dashboard(uid: str, title: str, rows: Iterable[Row], label: str = "", metric: str = "") -> Json:
    """Return a dashboard; one may choose by the values that a metric has of a label."""
    panels: list[Json] = []
    top = 0
    for height, row in rows:
        width = _COLUMNS // len(row)
        for column, panel in enumerate(row):
            place = {"x": column * width, "y": top, "w": width, "h": height}
            panels.append(panel.json(len(panels) + 1, place))
        top += height
    return {
        "uid": uid,
        "title": title,
        "tags": ["crossdock"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"type": "dashboards", "title": "Crossdock", "tags": ["crossdock"]}],
        "templating": {"list": [_variable(label, metric)] if label else []},
        "panels": panels,
    }


def _variable(label: str, metric: str) -> Json:
    query = f"label_values({metric}, {label})"
    return {
        "name": label,
        "label": label.replace("_", " "),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", ") if label)
