"""The manifests of Kubernetes: each is valid, and what it names is there."""

import functools
import os
import re
from pathlib import Path
from urllib.parse import parse_qs

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

import program
from crossdock import __version__
from crossdock.config import parse_gateway
from crossdock.protocols import ADAPTERS
from manifests import (
    KUBERNETES,
    OVERLAYS,
    Manifest,
    build,
    build_with,
    container,
    dispatchers,
    of_kind,
    pods,
    selected,
    values,
)
from monitoring import section


ROOT = KUBERNETES.parents[1]
OLDEST, NEWEST = "1.30", "1.37"
OPERATORS = {
    "ScaledObject": "keda.sh/v1alpha1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "RabbitmqCluster": "rabbitmq.com/v1beta1",
    "Cluster": "postgresql.cnpg.io/v1",
}
MADE_BY_OPERATORS = {
    "rabbitmq-default-user": {"username", "password"},
    "postgres-app": {"uri"},
}
PODS_OF_OPERATORS = [
    {"app.kubernetes.io/name": "rabbitmq"},
    {"cnpg.io/cluster": "postgres"},
]

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)


def ours(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """Return the pods that run the gateway."""
    return {name: pod for name, pod in pods(manifests).items() if name not in THEIRS}


THEIRS = ("rabbitmq", "postgres")


def check_schemas(manifests: tuple[Manifest, ...], version: str) -> None:
    for each in manifests:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            assert OPERATORS[each["kind"]] == each["apiVersion"]
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{each['kind']} {each['metadata']['name']}: {list(error.path)}: {error}")


@pytest.fixture(autouse=True)
def _read_schemas_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads megabytes for each manifest otherwise."""
    monkeypatch.setattr(utils, "schema_contents", SCHEMAS)


SCHEMAS = functools.cache(utils.schema_contents)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_manifest_is_valid(version: str) -> None:
    every = {repr(each): each for overlay in OVERLAYS for each in build(overlay)}
    check_schemas(tuple(every.values()), version)


def test_what_is_not_valid_is_noticed() -> None:
    (spool,) = (each for each in build(OVERLAYS[0]) if each["metadata"]["name"] == "spool")
    misspelt = spool | {"spec": {"acessModes": ["ReadWriteMany"]}}
    with pytest.raises(pytest.fail.Exception, match="acessModes"):
        check_schemas((misspelt,), NEWEST)


def test_autoscalers_without_keda_are_valid_and_are_those_of_the_dispatchers(
    tmp_path: Path,
) -> None:
    manifests = build_with(tmp_path, "hpa")
    scaled = of_kind(manifests, "HorizontalPodAutoscaler").values()
    check_schemas(tuple(scaled), OLDEST)
    names = [each["spec"]["scaleTargetRef"]["name"] for each in scaled]
    assert sorted(names) == dispatchers(manifests)


@overlays
def test_every_pod_is_confined_and_says_what_it_needs(overlay: Path) -> None:
    for name, pod in pods(build(overlay)).items():
        whole, one = pod["spec"]["securityContext"], container(pod)
        own = one["securityContext"]
        assert whole["runAsNonRoot"], name
        assert whole["runAsUser"] > 0, name
        assert whole["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert own["allowPrivilegeEscalation"] is False, name
        assert own["readOnlyRootFilesystem"] is True, name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert one["resources"]["requests"].keys() == {"cpu", "memory"}, name
        assert "memory" in one["resources"]["limits"], name
        image, _, tag = one["image"].rpartition(":")
        assert image, one["image"]
        assert tag == __version__ or name in THEIRS, one["image"]


def test_the_image_is_run_as_it_is_made() -> None:
    pods_of_ours = ours(build(OVERLAYS[0])).values()
    (user,) = {pod["spec"]["securityContext"]["runAsUser"] for pod in pods_of_ours}
    assert not any("command" in container(pod) for pod in pods_of_ours)
    said = (ROOT / "deploy" / "Dockerfile").read_text()
    assert f"\nUSER {user}" in said
    assert re.search(r'\nENTRYPOINT \[.*"crossdock"\]', said)


@overlays
def test_every_service_is_probed_where_it_answers(overlay: Path) -> None:
    manifests = build(overlay)
    for name in of_kind(manifests, "Deployment", "StatefulSet"):
        one = container(pods(manifests)[name])
        ports = {port["name"] for port in one["ports"]}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = one[kind]
            asked = probe.get("httpGet") or probe.get("tcpSocket") or {"port": min(ports)}
            assert asked["port"] in ports, (name, kind)
        if name in ours(manifests):
            assert one["startupProbe"]["httpGet"]["path"] == "/healthz"
            assert one["livenessProbe"]["httpGet"]["path"] == "/healthz"
            path, _, query = one["readinessProbe"]["httpGet"]["path"].partition("?")
            assert path == "/readyz"
            watched = set(re.findall(r'health\.watch\(\s*"([^"]+)"', program.source()))
            assert set(parse_qs(query).get("exclude", ())) <= watched


@overlays
def test_every_command_is_one_of_ours_and_every_protocol_has_a_dispatcher(overlay: Path) -> None:
    protocols: list[str] = []
    for pod in ours(build(overlay)).values():
        protocols += program.parsed(*container(pod)["args"]).get("protocol") or ()
    assert sorted(protocols) == sorted(ADAPTERS)


@overlays
def test_every_variable_is_known_and_made_of_what_was_said_before(overlay: Path) -> None:
    manifests = build(overlay)
    known = program.variables()
    configured = of_kind(manifests, "ConfigMap")
    for name, pod in ours(manifests).items():
        said: list[str] = []
        for each in container(pod).get("envFrom", ()):
            said += configured[each["configMapRef"]["name"]]["data"]
        for each in container(pod).get("env", ()):
            assert set(re.findall(r"\$\((\w+)\)", each.get("value", ""))) <= set(said), name
            said.append(each["name"])
        assert {each for each in said if each.startswith("CROSSDOCK_")} <= known, name
        assert len(said) == len(set(said)), name


@overlays
def test_every_secret_and_configuration_that_is_named_is_there(overlay: Path) -> None:
    manifests = build(overlay)
    made_by_hand = set(re.findall(r"--from-literal=([a-z-]+)=", section("Kubernetes")))
    secrets = {"crossdock": made_by_hand} | MADE_BY_OPERATORS
    configured = {name: set(each["data"]) for name, each in of_kind(manifests, "ConfigMap").items()}
    for name, pod in pods(manifests).items():
        for key in values(pod, "secretKeyRef"):
            assert key["key"] in secrets[key["name"]], name
        for volume in pod["spec"].get("volumes", ()):
            secret = volume.get("secret")
            if secret and not secret.get("optional"):
                items = {item["key"] for item in secret["items"]}
                assert items <= secrets[secret["secretName"]], name
            if "configMap" in volume:
                assert volume["configMap"]["name"] in configured, name


@overlays
def test_every_volume_is_there_and_only_what_must_be_shared_is(overlay: Path) -> None:
    manifests = build(overlay)
    claims = of_kind(manifests, "PersistentVolumeClaim")
    mounted: dict[str, dict[str, str]] = {}
    for name, pod in ours(manifests).items():
        volumes = {each["name"]: each for each in pod["spec"].get("volumes", ())}
        for mount in container(pod)["volumeMounts"]:
            volume = volumes[mount["name"]]
            claim = volume.get("persistentVolumeClaim", {}).get("claimName", "")
            assert not claim or claim in claims
            mounted.setdefault(mount["mountPath"], {})[name] = claim or next(
                kind for kind in volume if kind != "name"
            )
    running = set(of_kind(manifests, "Deployment"))
    on_the_spool = {"receiver", "router", *dispatchers(manifests)}
    assert mounted["/data"] == dict.fromkeys(running, "emptyDir")
    assert mounted["/data/spool"] == dict.fromkeys(on_the_spool, "spool")
    assert mounted["/targets"] == {"dispatcher-folder": "targets", "tester": "targets"}


@overlays
def test_every_selector_selects_and_every_service_leads_to_a_port(overlay: Path) -> None:
    manifests = build(overlay)
    for name, service in of_kind(manifests, "Service").items():
        behind = selected(manifests, service["spec"]["selector"])
        assert len(behind) == 1, name
        ports = {port["name"] for port in container(pods(manifests)[behind[0]])["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name
    for name, maker in of_kind(manifests, "Deployment", "StatefulSet").items():
        assert selected(manifests, maker["spec"]["selector"]["matchLabels"]) == [name]
    protected = [
        selected(manifests, each["spec"]["selector"]["matchLabels"])
        for each in of_kind(manifests, "PodDisruptionBudget").values()
    ]
    for name in of_kind(manifests, "Deployment"):
        assert [name] in protected, name


@overlays
def test_every_network_policy_is_about_pods_that_are_there(overlay: Path) -> None:
    manifests = build(overlay)
    for name, policy in of_kind(manifests, "NetworkPolicy").items():
        ports = {
            port["name"]
            for pod in pods(manifests).values()
            for port in values(pod, "ports")
            for port in port
        }
        for labels in (each["matchLabels"] for each in values(policy, "podSelector")):
            assert selected(manifests, labels) or labels in PODS_OF_OPERATORS, (name, labels)
        for port in values(policy, "port"):
            assert port in ports or isinstance(port, int), (name, port)


@overlays
def test_modalities_reach_every_store_node_with_their_own_address(overlay: Path) -> None:
    manifests = build(overlay)
    gateway = parse_gateway(
        yaml.safe_load(of_kind(manifests, "ConfigMap")["gateway"]["data"]["gateway.yaml"])
    )
    service = of_kind(manifests, "Service")["store-nodes"]["spec"]
    ports = {
        port["name"]: port["containerPort"]
        for port in container(pods(manifests)["receiver"])["ports"]
    }
    reached = {ports[port["targetPort"]] for port in service["ports"]}
    assert {node.port for node in gateway.store_nodes} == reached
    assert (service["type"], service["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert service["sessionAffinity"] == "None"
    policy = of_kind(manifests, "NetworkPolicy")["modalities"]["spec"]
    assert policy["ingress"] == [{"ports": [{"port": "dicom", "protocol": "TCP"}]}]


@overlays
def test_several_config_apis_share_one_postgresql(overlay: Path) -> None:
    manifests = build(overlay)
    (database,) = (
        each
        for each in container(pods(manifests)["config-api"])["env"]
        if each["name"] == "CROSSDOCK_DATABASE"
    )
    postgres = database.get("value", "").startswith("postgresql://") or database["valueFrom"] == {
        "secretKeyRef": {"name": "postgres-app", "key": "uri"}
    }
    replicas = of_kind(manifests, "Deployment")["config-api"]["spec"].get("replicas", 1)
    assert postgres or replicas == 1


def test_the_kustomization_of_the_handbook_is_built(tmp_path: Path) -> None:
    example = section("Kubernetes").partition("```yaml\n")[2].partition("```")[0]
    overlay = os.path.relpath(OVERLAYS[0], tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        example.replace("../deploy/kubernetes/overlays/small", overlay)
    )
    (tmp_path / "gateway.yaml").write_text("store_nodes: []\n")
    manifests = build(tmp_path)
    configured = of_kind(manifests, "ConfigMap")
    assert configured["gateway"]["data"] == {"gateway.yaml": "store_nodes: []\n"}
    (environment,) = (each for name, each in configured.items() if name.startswith("environment"))
    assert environment["data"]["CROSSDOCK_RETENTION_BYTES"] == "100GB"
    images = {container(pod)["image"] for pod in ours(manifests).values()}
    assert images == {f"registry.example/crossdock:{__version__}"}
    claims = of_kind(manifests, "PersistentVolumeClaim").values()
    assert {each["spec"]["storageClassName"] for each in claims} == {"my-class"}
