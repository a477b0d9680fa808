"""Which adapters are kept, for how long, and who gets them."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contract.remotes import make_target
from crossdock.config.targets import Target
from crossdock.protocols import ADAPTERS
from crossdock.protocols.folder import FolderAdapter
from dispatcher.adapters import Adapters
from waiting import until


closed: list[FolderAdapter] = []


class Watched(FolderAdapter):
    def close(self) -> None:
        closed.append(self)
        super().close()


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    monkeypatch.setitem(ADAPTERS, "folder", Watched)
    closed.clear()
    yield make_target({"type": "folder", "name": "kept", "path": str(tmp_path)})
    until(lambda: not [each for each in threading.enumerate() if each.name == "adapters:kept"])


def test_an_adapter_that_did_well_is_lent_again(target: Target) -> None:
    with closing(Adapters(target)) as adapters:
        with adapters.lend() as first:
            assert not first.used
        with adapters.lend() as second:
            assert second.used
        assert second.adapter is first.adapter
        assert closed == []


def test_one_that_is_lent_is_nobody_elses(target: Target) -> None:
    with (
        closing(Adapters(target)) as adapters,
        adapters.lend() as first,
        adapters.lend() as second,
    ):
        assert first.adapter is not second.adapter


def test_after_an_exception_it_is_closed_and_not_lent_again(target: Target) -> None:
    with closing(Adapters(target)) as adapters:
        with pytest.raises(ZeroDivisionError), adapters.lend() as first:
            1 / 0  # noqa: B018 — to fail is all that it is for
        assert closed == [first.adapter]
        with adapters.lend() as second:
            assert second.adapter is not first.adapter


def test_what_nobody_wants_is_closed_after_a_short_while(target: Target) -> None:
    with closing(Adapters(target, idle=0.05)) as adapters:
        for _ in range(2):
            with adapters.lend() as first, adapters.lend() as second:
                assert {first.used, second.used} == {False}
            until(lambda: len(closed) in {2, 4}, what="both are closed")


def test_none_is_kept_for_ever(target: Target) -> None:
    with closing(Adapters(target, longest=0.0)) as adapters:
        with adapters.lend() as first:
            pass
        assert closed == [first.adapter]


def test_closing_closes_the_idle_at_once_and_the_others_when_they_come_back(
    target: Target,
) -> None:
    adapters = Adapters(target)
    with adapters.lend() as first:
        with adapters.lend() as second:
            pass
        adapters.close(5.0)
        assert closed == [second.adapter]
    assert closed == [second.adapter, first.adapter]
    adapters.close()


def test_one_that_cannot_be_closed_does_not_keep_the_others_open(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn(Watched):
        def close(self) -> None:
            super().close()
            raise RuntimeError

    monkeypatch.setitem(ADAPTERS, "folder", Stubborn)
    with closing(Adapters(target, idle=0.05)) as adapters:
        with adapters.lend(), adapters.lend():
            pass
        until(lambda: len(closed) == 2, what="both were tried")
