import pytest

from config_api.kept import KEPT, with_secrets, without_secrets
from crossdock.config.sealing import seal


@pytest.fixture(autouse=True)
def _own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", "k" * 32)


def document(password: object, name: str = "pacs") -> dict[str, object]:
    return {"targets": [{"name": name, "auth": {"user": "u", "password": password}}]}


def test_what_is_sealed_is_not_shown_and_what_is_referred_to_is() -> None:
    assert without_secrets(document({"sealed": "abc"})) == document(KEPT)
    assert without_secrets(document({"env": "PASSWORD"})) == document({"env": "PASSWORD"})


def test_what_was_read_can_be_written_back() -> None:
    old = document({"sealed": "abc"})
    assert with_secrets(without_secrets(old), old) == old


def test_a_new_text_replaces_and_the_same_text_changes_nothing() -> None:
    old = document({"sealed": seal("hunter2")})
    assert with_secrets(document("hunter2"), old) == old
    assert with_secrets(document("hunter3"), old) == document("hunter3")


def test_a_text_for_what_cannot_be_unsealed_any_more_replaces_it() -> None:
    assert with_secrets(document("new"), document({"sealed": "gone"})) == document("new")


@pytest.mark.parametrize("old", [{}, document({"sealed": "abc"}, "other"), document({"env": "A"})])
def test_kept_stays_where_nothing_is_kept(old: dict[str, object]) -> None:
    assert with_secrets(document(KEPT), old) == document(KEPT)


@pytest.mark.parametrize("odd", [7, None, [], {"targets": 7}, {"targets": [7, {"auth": KEPT}]}])
def test_what_is_no_configuration_is_left_to_its_check(odd: object) -> None:
    assert with_secrets(odd, document({"sealed": "abc"})) == odd
