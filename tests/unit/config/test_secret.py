import json
import os
import stat
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from crossdock.config.fields import Configured
from crossdock.config.sealing import KEY_FILE, seal, unseal
from crossdock.config.secret import Secret
from crossdock.errors import SecretUnavailable


KEY = "k" * 32
OTHER = "o" * 32


class Holder(Configured):
    password: Secret


@pytest.fixture(autouse=True)
def _own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", KEY)
    monkeypatch.delenv("CROSSDOCK_SECRET_KEY_FILE", raising=False)


def test_a_text_is_sealed_whenever_it_is_written_down_and_can_be_revealed_again() -> None:
    holder = Holder.model_validate({"password": "hunter2 ü"})
    written = holder.model_dump_json()
    assert "hunter2" not in written
    assert Holder.model_validate_json(written).password.reveal() == "hunter2 ü"


def test_what_was_sealed_once_is_written_down_as_it_is() -> None:
    first = Holder.model_validate({"password": "hunter2"}).model_dump(mode="json")
    assert Holder.model_validate(first).model_dump(mode="json") == first


def test_no_word_about_it_holds_the_text() -> None:
    holder = Holder.model_validate({"password": "hunter2"})
    assert "hunter2" not in f"{holder} {holder!r} {holder.password} {holder.password!r}"


@pytest.mark.parametrize(
    "wrong",
    ["", {}, [], 7, {"env": "A", "file": "/b"}, {"env": "no name"}, {"file": "relative"},
     {"kept": True}, {"env": "CROSSDOCK_API_TOKEN"}, "x" * 70_000],
)  # fmt: skip
def test_what_is_no_secret_is_refused_without_being_quoted(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({"password": wrong})


def test_it_can_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Holder.model_validate({"password": {"env": "PACS_PASSWORD"}}).password
    with pytest.raises(SecretUnavailable, match="PACS_PASSWORD"):
        secret.reveal()
    monkeypatch.setenv("PACS_PASSWORD", "hunter2")
    assert secret.reveal() == "hunter2"


def test_it_can_be_in_a_file_whose_last_line_end_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "password"
    secret = Holder.model_validate({"password": {"file": str(path)}}).password
    with pytest.raises(SecretUnavailable, match="No such file"):
        secret.reveal()
    path.write_text("")
    with pytest.raises(SecretUnavailable, match="is empty"):
        secret.reveal()
    path.write_text("hunter2\n")
    assert secret.reveal() == "hunter2"


def test_of_several_keys_the_first_seals_and_all_open(monkeypatch: pytest.MonkeyPatch) -> None:
    old = seal("hunter2")
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", f"{OTHER},{KEY}")
    assert unseal(old) == "hunter2"
    new = seal("hunter2")
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", OTHER)
    assert unseal(new) == "hunter2"
    with pytest.raises(SecretUnavailable, match="another key"):
        unseal(old)


def test_a_short_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", "short")
    with pytest.raises(SecretUnavailable, match="32 characters"):
        seal("hunter2")


def test_a_key_can_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CROSSDOCK_SECRET_KEY")
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(SecretUnavailable, match="No such file"):
        seal("hunter2")
    (tmp_path / "key").write_text(KEY + "\n")
    token = seal("hunter2")
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", KEY)
    assert unseal(token) == "hunter2"


def test_one_machine_makes_its_own_key_once_whoever_is_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CROSSDOCK_SECRET_KEY")
    monkeypatch.setenv("CROSSDOCK_DATA", str(tmp_path / "data"))
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda: tokens.append(seal("hunter2"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [unseal(token) for token in tokens] == ["hunter2"] * 8
    assert os.listdir(tmp_path / "data") == [KEY_FILE]  # noqa: PTH208 — hidden ones too
    mode = (tmp_path / "data" / KEY_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_its_schema_does_not_offer_what_is_sealed() -> None:
    assert "sealed" not in json.dumps(Holder.model_json_schema())
