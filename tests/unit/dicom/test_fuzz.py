"""A short run of what ``make fuzz`` does at length, and hypothesis on the same subjects."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.__main__ import run
from fuzz.damage import damaged
from fuzz.subjects import subjects


NAMES = ("association", "associate", "command", "commitment", "header", "file")


def test_a_few_thousand_damaged_inputs_leave_nothing_behind() -> None:
    result = run(4000, 30, seed=1)
    assert result.fed == 4000
    assert result.conversations == 20
    assert result.left_behind == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_reads_bytes_falls_over_them(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory: Path = tmp_path_factory.mktemp("fuzz")
    found = {subject.name: subject for subject in subjects(directory)}
    subject = found[name]
    assert found.keys() == set(NAMES)

    @settings(max_examples=150, deadline=2000)
    @given(
        st.binary(max_size=2000)
        | st.builds(
            lambda seed, number: damaged(seed, Random(number)),
            st.sampled_from(list(subject.seeds)),
            st.integers(0, 2**32),
        )
    )
    def feed(data: bytes) -> None:
        subject.feed(data)

    feed()
