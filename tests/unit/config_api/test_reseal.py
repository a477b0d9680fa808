"""A key is changed: with the new one first everything is sealed anew, and the old one can go."""

import pytest

from crossdock.config.sealing import unseal
from crossdock.errors import SecretUnavailable


OLD, NEW, LOST = "o" * 32, "n" * 32, "l" * 32


def target(name: str, password: str) -> dict[str, object]:
    return {
        "name": name,
        "type": "dicomweb",
        "url": "https://pacs.example/dicom-web",
        "basic": {"user": "gateway", "password": password},
    }


def sealed(gateway, number: int, name: str) -> str:
    document = gateway.parts.configuration.revision(number).document
    (found,) = [each for each in document["targets"] if each["name"] == name]
    return found["basic"]["password"]["sealed"]


def put(gateway, *targets: dict[str, object]) -> int:
    answer = gateway.http.put("/api/v1/gateway", json={"targets": targets})
    return answer.raise_for_status().json()["revision"]


def test_all_revisions_open_with_the_new_key_alone_and_services_get_a_new_one(
    gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", OLD)
    first = put(gateway, target("pacs", "hunter2"))
    second = put(gateway, target("pacs", "hunter3"), target("vault", "sesame"))
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", f"{NEW},{OLD}")
    done = gateway.http.post("/api/v1/secrets/reseal").raise_for_status().json()
    assert done == {"revision": second + 1, "rewritten": 2, "unopened": []}
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", NEW)
    assert unseal(sealed(gateway, first, "pacs")) == "hunter2"
    assert unseal(sealed(gateway, second, "vault")) == "sesame"
    assert unseal(sealed(gateway, second + 1, "pacs")) == "hunter3"
    again = gateway.http.post("/api/v1/secrets/reseal").raise_for_status().json()
    assert again == {"revision": second + 1, "rewritten": 0, "unopened": []}
    records = gateway.http.get("/api/v1/audit").json()["items"]
    assert [each["action"] for each in records] == ["reseal", "reseal"]


def test_what_no_key_opens_is_named_and_left_as_it_is(
    gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", LOST)
    put(gateway, target("vault", "sesame"))
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", OLD)
    gateway.http.post("/api/v1/targets", json=target("pacs", "hunter2")).raise_for_status()
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", f"{NEW},{OLD}")
    done = gateway.http.post("/api/v1/secrets/reseal").raise_for_status().json()
    assert done["unopened"] == ["targets vault"]
    assert unseal(sealed(gateway, done["revision"], "pacs")) == "hunter2"
    with pytest.raises(SecretUnavailable):
        unseal(sealed(gateway, done["revision"], "vault"))
