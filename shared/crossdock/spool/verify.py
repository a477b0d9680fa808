"""Looks at everything in a spool and tells what is not as it should be. Nothing is changed.

It is safe beside a running gateway: parcels move on while they are looked at, so what seems wrong
is looked at again, and only what is wrong still and in the same place is told.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crossdock.errors import SpoolError
from crossdock.spool.durable import is_locked
from crossdock.spool.open_parcel import ORIGIN
from crossdock.spool.soundness import (
    Problem,
    closed_problems,
    head_problem,
    leftovers,
    problem_at,
    untouched,
)
from crossdock.spool.spool import Spool
from crossdock.spool.stored_parcel import HELD, PENDING, StoredParcel


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found in one place of the spool: a parcel, or what is in none.

    ``parcels`` is 1 for a parcel and 0 otherwise; ``instances`` and ``size``, in bytes, are those of
    its description.
    """

    parcels: int = 0
    instances: int = 0
    size: int = 0
    problems: tuple[Problem, ...] = ()


def places(spool: Spool) -> int:
    """Return how many results ``verify`` will yield, as the spool is now.

    Raises:
        FileNotFoundError: there is no spool.
    """
    directories = (spool.opened, spool.parcels, spool.held, spool.retired)
    return 1 + sum(len(_visible(directory)) for directory in directories)


def verify(
    spool: Spool, targets: Collection[str] | None, now: float | None = None
) -> Iterator[Verified]:
    """Yield what is in each place of a spool, along the way of parcels.

    ``targets`` are those of the configuration, None where that is not known.

    Raises:
        FileNotFoundError: there is no spool.
    """
    now = time.time() if now is None else now
    root = spool.root
    yield Verified(problems=tuple(_arriving(spool, now)))
    seen: set[str] = set()
    looks: dict[Path, Callable[[StoredParcel], Iterator[Problem]]] = {
        spool.opened: lambda stored: _open_problems(root, stored.path, now),
        spool.parcels: lambda stored: closed_problems(root, stored, targets),
        spool.held: lambda stored: _held_problems(root, stored, targets),
        spool.retired: lambda stored: _retired_problems(root, stored),
    }
    for directory, look in looks.items():
        for path in _visible(directory):
            if path.name not in seen:
                yield _verified(path, look, now, root, seen)


def _visible(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if not path.name.startswith("."))


def _verified(
    path: Path,
    look: Callable[[StoredParcel], Iterator[Problem]],
    now: float,
    root: Path,
    seen: set[str],
) -> Verified:
    def found(stored: StoredParcel) -> list[Problem]:
        report = partial(problem_at, root)
        try:
            return [*look(stored), *leftovers(report, path, now)]
        except FileNotFoundError:
            return [report(path, "it changes while it is looked at", "look again")]
        except OSError as error:
            words = f"it cannot be read: {error.strerror}"
            return [report(path, words, "look after the disk and its permissions")]

    stored = StoredParcel(path)
    problems = found(stored)
    if problems:
        stored, first = StoredParcel(path), problems
        problems = [problem for problem in found(stored) if problem in first]
    if not path.exists():
        return Verified()  # it moved on, and is met again there
    seen.add(path.name)
    try:
        parcel = stored.parcel
    except SpoolError:  # open still, or said to be a problem
        return Verified(parcels=1, problems=tuple(problems))
    return Verified(1, len(parcel.instances), parcel.size, tuple(problems))


def _arriving(spool: Spool, now: float) -> Iterator[Problem]:
    for path in _visible(spool.incoming):
        if untouched(path, now):
            yield problem_at(
                spool.root,
                path,
                "a receiver or router that died left it unfinished",
                "nothing was promised for it: the router deletes it; is one running?",
            )
    yield from leftovers(partial(problem_at, spool.root), spool.retired, now)


def _open_problems(root: Path, path: Path, now: float) -> Iterator[Problem]:
    report = partial(problem_at, root)
    if not path.is_dir():
        yield report(path, "it is no parcel", "move it out of the spool")
        return
    for file in sorted(path.glob("*.dcm")):
        if not file.stem.isdecimal():
            yield report(file, "it is no instance", "move it out of the spool")
        elif (problem := head_problem(report, file)) is not None:
            yield problem
    if untouched(path, now) and not _owned(path):
        yield report(
            path,
            "its receiver died and nobody has closed it",
            "the router closes and routes it; is one running?",
        )


def _owned(path: Path) -> bool:
    """Whether a receiver that lives has an open parcel."""
    try:
        return is_locked(path / ORIGIN)
    except FileNotFoundError:  # or it was closed just now
        return not path.exists()


def _held_problems(
    root: Path, stored: StoredParcel, targets: Collection[str] | None
) -> Iterator[Problem]:
    yield from closed_problems(root, stored, targets)
    if not stored.note():
        yield problem_at(
            root, stored.path, "nothing says why it is held", "route it again, or discard it"
        )


def _retired_problems(root: Path, stored: StoredParcel) -> Iterator[Problem]:
    yield from closed_problems(root, stored, None)
    for state in (PENDING, HELD):
        for target in stored.targets(state):
            yield problem_at(
                root,
                stored.marker(target, state),
                "the delivery is not final, and its parcel is retired",
                "move the parcel's directory back into parcels/, before its time is over",
            )
