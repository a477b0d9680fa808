"""Where the matrix is run: one gateway per broker, which lives as long as every case holds."""

from collections.abc import Iterator

import pytest

from crash.house import House


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"])
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    directory = tmp_path_factory.mktemp(request.param)
    with House(directory, with_rabbitmq=request.param == "rabbitmq") as house:
        yield house
        house.check_everything_again()
