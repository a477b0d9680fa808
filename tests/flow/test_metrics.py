"""What a whole gateway shows to Prometheus, over RabbitMQ, after a study has gone through it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring import alerts, dashboards, documented, metrics_in, queries
from ports import free_port
from running import Running, running
from servers.dcmtk import run
from servers.rabbitmq import rabbitmq
from studies import PATIENT, make_ct
from waiting import until


SERVICES = ("config-api", "receiver", "router", "dispatcher", "tester")


@dataclass
class Gateway:
    """A gateway with a target that works, one that is dead, and one that will go."""

    running: Running
    document: dict[str, object]
    broker_metrics: str

    def scrape(self, service: str) -> str:
        said = self.running.said(service)
        assert said is not None
        return httpx.get(f"http://{said['http']}/metrics", timeout=60).text

    def sample(self, of: str, name: str, **labels: str) -> float | None:
        """Return the one sample that has these labels, None if there is none."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.scrape(of))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) <= 1, (name, labels)
        return found[0] if found else None


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("metrics")
    port, second = free_port(), free_port()
    for name in ("research", "leaving"):
        (root / name).mkdir()
    node = {"ae_title": "CROSSDOCK", "accept": "any"}
    dead = {"host": "127.0.0.1", "port": free_port(), "called_ae_title": "DEAD"}
    document: dict[str, object] = {
        "store_nodes": [
            {"name": "main", "port": port, **node},
            {"name": "second", "port": second, **node},
        ],
        "targets": [
            {"name": "research", "type": "folder", "path": str(root / "research")},
            {"name": "leaving", "type": "folder", "path": str(root / "leaving")},
            {"name": "dead", "type": "dicom", **dead},
            {"name": "idle", "type": "dicom", "enabled": False, **dead},
        ],
        "rules": [{"name": "all", "targets": ["research", "leaving", "dead"]}],
    }
    with (
        rabbitmq(root / "rabbitmq", metrics=True) as broker,
        running(root / "data", document, broker.url) as crossdock,
    ):
        sent = make_ct(root / "study", 3)
        assert not run("dcmsend", "-aec", "CROSSDOCK", "127.0.0.1", port, *sent).returncode
        for name in ("research", "leaving"):
            until(lambda name=name: crossdock.deliveries(target=name, state="delivered"))
        until(lambda: crossdock.deliveries(target="dead")[0]["attempts"], what="an attempt")
        yield Gateway(crossdock, document, broker.metrics)


def families(text: str) -> dict[str, str]:
    """Return the metrics in a scrape: name → type."""
    return dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))


def test_every_service_answers_health_and_says_what_it_is(gateway):
    for name in SERVICES:
        said = gateway.running.said(name)
        base = f"http://{said['http']}"
        assert httpx.get(f"{base}/healthz", timeout=60).status_code == 200
        ready = httpx.get(f"{base}/readyz", timeout=60)
        assert (ready.status_code, ready.json()["problems"]) == (200, {})
        assert gateway.sample(name, "crossdock_build_info", service=name) == 1
        assert gateway.sample(name, "crossdock_ready") == 1
        assert gateway.sample(name, "crossdock_broker_connected") == 1


def test_the_table_in_the_handbook_is_what_there_is(gateway):
    scrapes = [gateway.scrape(name) for name in SERVICES]
    shown = {name: kind for text in scrapes for name, kind in families(text).items()}
    ours = {name: kind for name, kind in shown.items() if name.startswith("crossdock_")}
    assert ours == {name: kind for name, (kind, _) in documented().items()}
    for text in scrapes:
        for family in text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            for sample in family.samples if name in ours else ():
                assert sample.labels.keys() - {"le"} == documented()[name][1], name


def test_rules_and_dashboards_ask_only_for_what_there_is(gateway):
    shown = families(gateway.broker_metrics).keys() | documented().keys()
    shown |= families(gateway.scrape("router")).keys()
    asked = {name: alert["expr"] for name, alert in alerts().items()}
    for file, dashboard in dashboards().items():
        asked |= {f"{file} {number}": query for number, query in enumerate(queries(dashboard))}
    missing = {name: metrics_in(query) - shown for name, query in asked.items()}
    assert not {name: names for name, names in missing.items() if names}


def test_numbers_are_those_of_the_study(gateway):
    sample = gateway.sample
    assert sample("receiver", "crossdock_instances_received_total", status="0000") == 3
    assert sample("receiver", "crossdock_associations_total", result="accepted") == 1
    assert sample("receiver", "crossdock_association_duration_seconds_count") == 1
    assert sample("receiver", "crossdock_associations_open", store_node="main") == 0
    received = sample("receiver", "crossdock_received_bytes_total", store_node="main")
    assert sample("router", "crossdock_parcels_routed_total", result="routed") == 1
    research = {"target": "research", "protocol": "folder"}
    assert sample("dispatcher", "crossdock_delivered_bytes_total", **research) == received
    assert sample("dispatcher", "crossdock_delivery_latency_seconds_count", **research) == 1
    latency = sample("dispatcher", "crossdock_delivery_latency_seconds_sum", **research)
    assert latency is not None
    assert 0 < latency < 60
    assert sample("dispatcher", "crossdock_attempts_total", target="dead", result="unreachable")
    waiting = {"target": "dead", "state": "waiting"}
    until(lambda: sample("config-api", "crossdock_deliveries", **waiting) == 1)
    assert sample("config-api", "crossdock_oldest_waiting_delivery_seconds", target="dead")
    assert sample("config-api", "crossdock_deliveries", target="research", state="held") == 0
    assert sample("config-api", "crossdock_target_standstill", target="idle") == 1
    assert sample("config-api", "crossdock_target_standstill", target="dead") == 0
    assert sample("dispatcher", "crossdock_target_paused", target="idle") is None
    until(lambda: sample("tester", "crossdock_target_up", target="dead") == 0)


def test_nothing_of_a_patient_a_study_or_a_sender_is_shown(gateway):
    for name in SERVICES:
        text = gateway.scrape(name)
        for secret in (PATIENT, "SECRET-ID", "DCMSEND", "127.0.0.1"):
            assert secret not in text, name
        assert not re.search(r'"[\d.]{20,}"', text), "a UID"


def test_what_leaves_the_configuration_leaves_the_metrics(gateway):
    shown = 'target="leaving"', 'store_node="second"'
    at = {"dispatcher": shown[0], "tester": shown[0], "config-api": shown[0], "receiver": shown[1]}
    for service, label in at.items():
        until(lambda service=service, label=label: label in gateway.scrape(service))
    listening = 'crossdock_store_node_listening{store_node="second"}'
    assert f"{listening} 1.0" in gateway.scrape("receiver")
    disabled = gateway.running.api.patch("/api/v1/store-nodes/second", json={"enabled": False})
    assert disabled.is_success
    until(lambda: listening not in gateway.scrape("receiver"), what="nobody misses it")
    document = gateway.document
    smaller = {
        "store_nodes": document["store_nodes"][:1],
        "targets": [each for each in document["targets"] if each["name"] != "leaving"],
        "rules": [{"name": "all", "targets": ["research", "dead"]}],
    }
    assert gateway.running.put_gateway(smaller).is_success
    for service, label in at.items():
        until(lambda service=service, label=label: label not in gateway.scrape(service))
