"""What Prometheus and KEDA are told about the gateway on Kubernetes."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

import program
from manifests import KUBERNETES, OVERLAYS, Manifest, build, dispatchers, of_kind, selected
from monitoring import RULES, promtool


OPERATOR = "monitoring.coreos.com/v1"


def test_every_dispatcher_is_scaled_by_what_is_due_for_it() -> None:
    manifests = build(OVERLAYS[1])
    recorded = {rule["record"] for rule in scaling_rules()["groups"][0]["rules"]}
    scaled = of_kind(manifests, "ScaledObject")
    assert sorted(scaled) == dispatchers(manifests)
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"] == {"name": name}
        for trigger in each["spec"]["triggers"]:
            series = re.fullmatch(
                rf'([\w:]+)\{{namespace="crossdock",service="{name}"\}}',
                trigger["metadata"]["query"],
            )
            assert series, trigger
            assert series[1] in recorded


def scaling_rules() -> Manifest:
    spec = of_kind(build(OVERLAYS[1]), "PrometheusRule")["crossdock-due-deliveries"]["spec"]
    assert isinstance(spec, dict)
    return spec


def test_scaling_asks_for_metrics_that_there_are() -> None:
    asked = set(re.findall(r"crossdock_[a-z_]+", yaml.safe_dump(scaling_rules())))
    assert asked
    assert asked <= set(re.findall(r"\"(crossdock_[a-z_]+)\"", program.source()))


def test_only_what_could_be_delivered_now_is_due(tmp_path: Path) -> None:
    rules, tests = tmp_path / "rules.yml", tmp_path / "tests.yml"
    rules.write_text(yaml.safe_dump(scaling_rules()))
    series = [
        (
            f'crossdock_target_paused{{namespace="n",service="{service}",target="{target}",pod="{pod}"}}',
            paused,
        )
        for service, target, pod, paused in [
            ("dispatcher-dicom", "archive", "a", 0),
            ("dispatcher-dicom", "archive", "b", 1),
            ("dispatcher-dicom", "down", "a", 1),
            ("dispatcher-dicom", "night", "a", 0),
            ("dispatcher-s3", "cloud", "c", 0),
        ]
    ]
    series += [
        (metric.replace("_paused", "_window_closed"), int("night" in metric))
        for metric, _ in series
    ]
    for target, waiting in (("archive", 7), ("down", 900), ("night", 500), ("cloud", 3)):
        labels = f'namespace="n",target="{target}",service="config-api"'
        series += [
            (f'crossdock_deliveries{{{labels},state="waiting",pod="{pod}"}}', waiting)
            for pod in "xy"
        ]
        series.append((f"crossdock_oldest_waiting_delivery_seconds{{{labels}}}", 10 * waiting))
    expected = {
        "crossdock:due_deliveries": {"dispatcher-dicom": 7, "dispatcher-s3": 3},
        "crossdock:oldest_due_delivery_seconds": {"dispatcher-dicom": 70, "dispatcher-s3": 30},
    }
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": f"{value}x4"} for name, value in series],
        "promql_expr_test": [
            {
                "expr": name,
                "eval_time": "45s",
                "exp_samples": [
                    {"labels": f'{name}{{namespace="n",service="{service}"}}', "value": value}
                    for service, value in by_service.items()
                ],
            }
            for name, by_service in expected.items()
        ],
    }
    tests.write_text(yaml.safe_dump({"rule_files": [str(rules)], "tests": [case]}))
    promtool("test", "rules", tests)


def test_the_alerts_are_those_of_prometheus(tmp_path: Path) -> None:
    script, rules = (
        tmp_path / "kubernetes/prometheus-rule",
        tmp_path / "prometheus/rules/crossdock.yml",
    )
    for file in (script, rules):
        file.parent.mkdir(parents=True)
    shutil.copy(KUBERNETES / script.name, script)
    shutil.copy(RULES, rules)
    printed = subprocess.run([script], capture_output=True, check=True).stdout
    rule = yaml.safe_load(printed)
    assert (rule["kind"], rule["apiVersion"]) == ("PrometheusRule", OPERATOR)
    assert rule["spec"] == yaml.safe_load(rules.read_text())


def test_every_service_is_scraped() -> None:
    manifests = build(OVERLAYS[1])
    wanted = {"crossdock/metrics": "true"}
    scraped = [
        selected(manifests, service["spec"]["selector"])[0]
        for service in of_kind(manifests, "Service").values()
        if wanted.items() <= service["metadata"].get("labels", {}).items()
    ]
    assert sorted(scraped) == sorted(of_kind(manifests, "Deployment"))
    monitor = of_kind(manifests, "ServiceMonitor")["crossdock"]["spec"]
    assert monitor["selector"] == {"matchLabels": wanted}
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] == "http"
    assert endpoint["honorLabels"], "crossdock_build_info says itself which service it is"
