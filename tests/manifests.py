"""The manifests of Kubernetes as they are applied: built, and taken apart."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml


Manifest = dict[str, Any]

KUBERNETES = Path(__file__).parents[1] / "deploy" / "kubernetes"
OVERLAYS = (KUBERNETES / "overlays" / "small", KUBERNETES / "overlays" / "large")


@cache
def build(directory: Path) -> tuple[Manifest, ...]:
    """Build a directory with a kustomization."""
    kubectl = Path(sys.executable).with_name("kubectl")
    built = subprocess.run(
        [kubectl, "kustomize", directory], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    # The loader in C takes a tenth of the time; it is as safe.
    return tuple(yaml.load_all(built.stdout, Loader=yaml.CSafeLoader))


def build_with(directory: Path, component: str) -> tuple[Manifest, ...]:
    """Build a kustomization of one's own, of the base and a component."""
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(KUBERNETES / "base", directory)],
        "components": [os.path.relpath(KUBERNETES / "components" / component, directory)],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(own))
    return build(directory)


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> dict[str, Manifest]:
    """Return the manifests of some kinds, by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] in kinds}


def pods(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """Return the pods' templates, by the name of what makes them."""
    makers = of_kind(manifests, "Deployment", "StatefulSet", "Job")
    return {name: each["spec"]["template"] for name, each in makers.items()}


def container(pod: Manifest) -> Manifest:
    """Return the only container of a pod."""
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def selected(manifests: tuple[Manifest, ...], labels: dict[str, str]) -> list[str]:
    """Return the names of whose pods have all of some labels."""
    return [
        name
        for name, pod in pods(manifests).items()
        if labels.items() <= pod["metadata"]["labels"].items()
    ]


def dispatchers(manifests: tuple[Manifest, ...]) -> list[str]:
    """Return the names of the dispatchers."""
    return sorted(name for name in pods(manifests) if name.startswith("dispatcher-"))


def values(node: Any, key: str) -> Iterator[Any]:
    """Yield what stands under a key, however deep."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        for each in node.values():
            yield from values(each, key)
    elif isinstance(node, list):
        for each in node:
            yield from values(each, key)
