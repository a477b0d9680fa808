"""What a process says of itself over HTTP."""

from collections.abc import Iterator

import httpx
import pytest

from crossdock.telemetry import Health, HealthServer


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    health = Health()
    health.watch("broker", lambda: "it is away")
    health.watch("spool", lambda: "it is full")
    server = HealthServer("127.0.0.1", 0, health)
    server.start()
    with httpx.Client(base_url=f"http://{server.address}") as client:
        yield client
    server.close()


@pytest.mark.parametrize(
    ("query", "problems"),
    [
        ("", {"broker", "spool"}),
        ("?exclude=broker", {"spool"}),
        ("?exclude=broker&exclude=spool", set()),
        ("?exclude=nothing&verbose", {"broker", "spool"}),
        ("?" + "exclude=a&" * 2000, {"broker", "spool"}),
    ],
)
def test_readiness_is_asked_without_what_does_not_matter_to_who_asks(
    client: httpx.Client, query: str, problems: set[str]
) -> None:
    answer = client.get(f"/readyz{query}")
    assert answer.json()["problems"].keys() == problems
    assert answer.status_code == (503 if problems else 200)
