"""The image: what is in it, what is not, and who it runs as."""

import json

import pytest

from crossdock import __version__
from stack.engine import Engine


pytestmark = pytest.mark.timeout(900)  # the first test builds it
_CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none")  # noqa: S108 — the container's own


def _run(engine: Engine, image: str, *command: str) -> str:
    program, *arguments = command
    return engine.docker(
        "run", "--rm", *_CONFINED, "--entrypoint", program, image, *arguments
    ).strip()


def test_it_runs_the_program_as_nobody_in_particular(container_engine: Engine, image: str) -> None:
    said = container_engine.docker("run", "--rm", *_CONFINED, image, "--version")
    assert said.strip() == f"crossdock {__version__}"
    assert _run(container_engine, image, "id", "-u") == "10001"


def test_it_has_rsync_and_ssh_and_no_compiler(container_engine: Engine, image: str) -> None:
    script = "for each in rsync ssh tini cc gcc c++ make pip; do command -v $each; done; true"
    found = _run(container_engine, image, "sh", "-c", script).split()
    ours = [path for path in found if not path.startswith("/usr/local/bin/pip")]  # the base's own
    assert ours == ["/usr/bin/rsync", "/usr/bin/ssh", "/usr/bin/tini"]


def test_it_has_the_codecs(container_engine: Engine, image: str) -> None:
    code = "import gdcm, jpeg_ls, openjpeg, numpy; print('all')"
    assert _run(container_engine, image, "python", "-c", code) == "all"


def test_it_says_what_is_in_it(container_engine: Engine, image: str) -> None:
    place = "/usr/share/doc/crossdock"
    bill = json.loads(_run(container_engine, image, "cat", f"{place}/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "crossdock"
    components = {each["name"] for each in bill["components"]}
    assert {"pydicom", "pika", "cryptography", "python-gdcm"} <= components
    assert not {"hatchling", "pytest", "cyclonedx-bom"} & components
    packages = _run(container_engine, image, "cat", f"{place}/debian-packages.txt")
    assert "openssh-client" in packages
    assert "Apache License" in _run(container_engine, image, "cat", f"{place}/LICENSE")


def test_its_labels_name_it(container_engine: Engine, image: str) -> None:
    said = json.loads(container_engine.docker("image", "inspect", image))[0]["Config"]
    labels = said["Labels"]
    assert labels["org.opencontainers.image.title"] == "Crossdock"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert said["User"] == "10001:10001"
    assert said["Healthcheck"]["Test"][0] == "CMD"
