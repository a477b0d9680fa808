"""Settings that are files: how containers are given their secrets."""

from pathlib import Path

import pytest

from crossdock.settings import from_environment


WAYS = {
    "CROSSDOCK_BROKER": "broker",
    "CROSSDOCK_DATABASE": "database",
    "CROSSDOCK_API_TOKEN": "api_token",
}


@pytest.mark.parametrize("name", WAYS)
def test_a_secret_can_be_in_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("amqp://user:password@host/\n")
    settings = from_environment({f"{name}_FILE": str(file)})
    assert getattr(settings, WAYS[name]) == "amqp://user:password@host/"


def test_the_variable_itself_goes_before_its_file(tmp_path: Path) -> None:
    environment = {
        "CROSSDOCK_API_TOKEN": "said",
        "CROSSDOCK_API_TOKEN_FILE": str(tmp_path / "nothing"),
    }
    assert from_environment(environment).api_token == "said"


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b" \n", "is empty"), (b"\xff\xfe", "is not text")],
)
def test_a_file_that_says_nothing_is_an_error_that_names_it(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}_FILE=.*secret: {words}"):
        from_environment({f"{name}_FILE": str(file)})
