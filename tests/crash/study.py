"""The study that every case sends: three series, one instance that no rule wants."""

from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import generate_uid

from studies import by_uid, make_ct


WANTED = "InstanceNumber < 5"
"""What the rule of the matrix says."""

LARGE = 300_000  # bytes, which is several PDUs


@dataclass(frozen=True)
class Study:
    """Twelve instances, dealt out to two associations, of which one series is in both."""

    uid: str
    associations: tuple[list[Path], list[Path]]
    wanted: dict[str, bytes]
    unwanted: frozenset[str]


def make_study(directory: Path) -> Study:
    uid = generate_uid()
    small = make_ct(directory / "small", 5, study=uid)
    large = make_ct(directory / "large", 4, study=uid, size=LARGE)
    shared = make_ct(directory / "shared", 3, study=uid)
    unwanted = by_uid(small[4:])
    everything = by_uid([*small, *large, *shared])
    return Study(
        uid=uid,
        associations=([*small, shared[0]], [*large, *shared[1:]]),
        wanted={name: data for name, data in everything.items() if name not in unwanted},
        unwanted=frozenset(unwanted),
    )
