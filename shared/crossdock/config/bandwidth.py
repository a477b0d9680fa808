"""Bandwidths as people write them: a number and a unit that tells bits from bytes."""

import re
from typing import Annotated

from pydantic import AfterValidator


_WRITTEN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([kMG])(bit|B)/s")
_FACTORS = {"k": 1e3, "M": 1e6, "G": 1e9}
_SMALLEST = 8_000.0  # bytes per second; with less, peers would take a pause for an end


def bytes_per_second(written: str) -> float:
    """Return how many bytes per second a bandwidth such as ``20 Mbit/s`` or ``2.5 MB/s`` is.

    Raises:
        ValueError: it is none, or too small.
    """
    found = _WRITTEN.fullmatch(written)
    if not found:
        raise ValueError(
            "use a number and kbit/s, Mbit/s or Gbit/s, or kB/s, MB/s or GB/s, such as 20 Mbit/s"
        )
    rate = float(found[1]) * _FACTORS[found[2]] / (8 if found[3] == "bit" else 1)
    if rate < _SMALLEST:
        raise ValueError("use 64 kbit/s (8 kB/s) or more")
    return rate


def _bandwidth(value: str) -> str:
    bytes_per_second(value)
    return value


Bandwidth = Annotated[str, AfterValidator(_bandwidth)]
