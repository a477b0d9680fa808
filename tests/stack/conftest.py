"""The engine, the image and the stack, each made once for all tests."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import compose
from stack.engine import Engine, engine
from stack.house import House, house
from stack.standins import make


_BUILD_SECONDS = 400
_PULL_SECONDS = 200


@pytest.fixture(scope="session")
def container_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the images that ours is built from and works with."""
    # Whoever ends this run, as CI does when its time is over, ends the engine with it.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with engine() as found:
        services = compose.document()["services"]
        names = {name: services[name]["image"] for name in ("rabbitmq", "postgres", "orthanc")}
        names["python"] = compose.base_image()
        missing = [image for image in names.values() if not found.has(image)]
        if missing and found.own:
            make(found, names, tmp_path_factory.mktemp("roots"))
        for image in missing if not found.own else ():
            found.docker("pull", "--quiet", image, seconds=_PULL_SECONDS)
        yield found
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def image(container_engine: Engine) -> str:
    """The image, built from this checkout."""
    name: str = compose.document()["services"]["config-api"]["image"]
    place = ("--file", compose.ROOT / "deploy/Dockerfile", "--tag", name)
    network = ("--network", "host") if container_engine.own else ()
    container_engine.docker("build", *place, *network, compose.ROOT, seconds=_BUILD_SECONDS)
    return name


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest,
    container_engine: Engine,
    image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[House]:
    """The whole of docker-compose.yml with its demo, running."""
    assert image
    directory: Path = tmp_path_factory.mktemp("stack")
    with house(container_engine, directory) as running:
        yield running
        if request.session.testsfailed:
            sys.stdout.write(running.report())
