"""Bandwidths: bits and bytes are told apart, and nothing else is taken."""

import pytest

from crossdock.config.bandwidth import bytes_per_second
from crossdock.config.snapshot import parse_object
from crossdock.errors import ConfigError


FOLDER = {"name": "research", "type": "folder", "path": "/data"}


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("20 Mbit/s", 2_500_000),
        ("20Mbit/s", 2_500_000),
        ("2.5 MB/s", 2_500_000),
        ("64 kbit/s", 8_000),
        ("8 kB/s", 8_000),
        ("1 Gbit/s", 125_000_000),
        ("1.25 GB/s", 1_250_000_000),
    ],
)
def test_a_number_and_a_unit_are_bytes_per_second(written: str, rate: float) -> None:
    assert bytes_per_second(written) == rate
    target = parse_object("targets", FOLDER | {"bandwidth": written})
    assert target.model_dump(mode="json")["bandwidth"] == written


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("20 Mb/s", "Mbit/s"),
        ("20 mbit/s", "Mbit/s"),
        ("20 Mbps", "Mbit/s"),
        ("20 KB/s", "kB/s"),
        ("20", "20 Mbit/s"),
        ("-1 MB/s", "number"),
        ("1e3 MB/s", "number"),
        ("٣ MB/s", "number"),
        ("0 MB/s", "or more"),
        ("63 kbit/s", "64 kbit/s"),
        (20, "string"),
    ],
)
def test_what_could_be_misread_is_refused_and_says_what_to_write(
    written: object, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_object("targets", FOLDER | {"bandwidth": written})
    (problem,) = caught.value.problems
    assert problem.field == "bandwidth"
    assert said in problem.message
