"""A network that is far, bad, cut or silent, on either side of the gateway.

What was answered with success arrives, once and unchanged. A target in trouble is left alone with
the true reason, costs its deliveries no attempt, and gets all once it is well, without a person.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from crash.networked import FAR, HOST, NAMED, PACS, SFTP, SHELF, Network, network
from servers.cable import Cable
from studies import by_uid, make_ct
from waiting import until


SIZE = 40_000  # bytes of one instance, and a little more


@pytest.fixture(scope="module")
def running_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("network")) as running:
        yield running


@pytest.fixture
def net(running_network: Network) -> Iterator[Network]:
    yield running_network
    running_network.heal()


class Study:
    """A study of one series, for one target."""

    def __init__(self, directory: Path, target: str, count: int, size: int = SIZE) -> None:
        self.target = target
        self.uid = generate_uid()
        self.paths = make_ct(directory, count, study=self.uid, description=target, size=size)

    def is_at(self, net: Network, *, twice: int = 0, seconds: float = 30) -> None:
        """Wait until all of it has arrived; ``twice`` says how much may have come twice."""
        until(
            lambda: net.ended(self.uid, len(self.paths)),
            seconds,
            f"{self.target} has everything",
            step=0.1,
        )
        sent = {uid: {content} for uid, content in by_uid(self.paths).items()}

        def unchanged() -> bool:
            received = net.received(self.target, self.uid)
            return {uid: {*copies} for uid, copies in received.items()} == sent

        until(unchanged, what="there are only whole instances, unchanged", step=0.2)
        received = net.received(self.target, self.uid)
        assert sum(map(len, received.values())) <= len(sent) + twice


# The sender towards our store node


def test_a_sender_that_is_300_ms_away_is_served(net: Network, tmp_path: Path) -> None:
    study = Study(tmp_path, SHELF, 3)
    net.entry.delay = 0.15
    assert net.send(study.paths, net.entry.port) == study.paths
    study.is_at(net)
    assert net.arrived(study.uid) == 3


@pytest.mark.parametrize("after", [10, 3_000, 100_000])
def test_a_sender_whose_line_breaks_sends_the_rest_again_and_all_is_there_once(
    net: Network, tmp_path: Path, after: int
) -> None:
    study = Study(tmp_path, SHELF, 5)
    net.entry.breaks_after = after
    stored = net.send(study.paths, net.entry.port)
    assert net.entry.broken
    assert len(stored) == after // SIZE
    net.heal()
    rest = study.paths[len(stored) :]
    assert net.send(rest, net.entry.port) == rest
    study.is_at(net)
    assert net.arrived(study.uid) == 5


def test_a_sender_whose_line_goes_silent_holds_up_no_other_and_leaves_nothing_half(
    net: Network, tmp_path: Path
) -> None:
    silent, other = Study(tmp_path / "silent", SHELF, 3), Study(tmp_path / "other", SHELF, 3)
    net.entry.silent_after = SIZE + SIZE // 2
    stored = net.send(silent.paths, net.entry.port)
    assert stored == silent.paths[:1]
    assert [*net.spool.incoming.iterdir()]
    assert net.send(other.paths) == other.paths
    other.is_at(net)
    net.heal()
    until(lambda: not [*net.spool.incoming.iterdir()], what="the half instance is gone")
    assert net.send(silent.paths[1:]) == silent.paths[1:]
    silent.is_at(net)
    assert net.arrived(silent.uid) == 3


# The dispatcher towards its targets


@pytest.mark.parametrize("target", [PACS, SFTP])
def test_a_target_that_is_300_ms_away_gets_everything_at_the_first_try(
    net: Network, tmp_path: Path, target: str
) -> None:
    study, pauses = Study(tmp_path, target, 3), len(net.pauses(target))
    net.lines[target].delay = 0.15
    assert net.send(study.paths) == study.paths
    study.is_at(net)
    assert len(net.pauses(target)) == pauses


TROUBLES = [
    (PACS, "breaks_after", SIZE + SIZE // 2, "unreachable"),
    (PACS, "silent_after", SIZE + SIZE // 2, "timeout"),
    (PACS, "silent_after", 0, "timeout"),
    (SFTP, "breaks_after", SIZE + SIZE // 2, "unreachable"),
    (SFTP, "silent_after", SIZE + SIZE // 2, "timeout"),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: "-".join(map(str, trouble)))
def test_a_target_whose_line_fails_is_left_alone_and_gets_the_rest_when_it_is_well(
    net: Network, tmp_path: Path, trouble: tuple[str, str, int, str]
) -> None:
    target, what, after, kind = trouble
    study, line, pauses = Study(tmp_path, target, 12), net.lines[target], len(net.pauses(target))
    line.reset()  # a connection that was kept would hide how the next one fails
    setattr(line, what, after)
    net.send(study.paths)
    waiting = net.fails(target)
    tries = 2 if what == "breaks_after" else 1  # a silence takes its time
    until(lambda: len(net.pauses(target)) >= pauses + tries, what="its pauses", step=0.1)
    assert waiting["kind"] == kind, waiting
    assert waiting["next_try"] is not None
    assert net.burned(target) == 0
    assert set(net.pauses(target)[pauses:]) == {kind}
    net.heal()
    study.is_at(net)


def test_a_target_whose_name_does_not_resolve_is_waited_for_until_it_does(
    net: Network, tmp_path: Path
) -> None:
    study = Study(tmp_path, NAMED, 2)
    net.names.mood = "unknown"
    net.send(study.paths)
    waiting = net.fails(NAMED, f"{HOST}: Name or service not known")
    assert waiting["kind"] == "unreachable"
    net.names.mood = "fails"
    net.fails(NAMED, "Temporary failure in name resolution")
    net.names.mood = "silent"
    asked = net.names.asked
    until(lambda: net.names.asked > asked + 2, what="it asks again")
    assert net.burned(NAMED) == 0
    net.names.mood = "answers"
    until(lambda: net.ended(study.uid, 2), what="it is delivered", step=0.1)
    assert net.received(PACS, study.uid).keys() == by_uid(study.paths).keys()


# Both, over a cable


def test_over_a_network_that_loses_packets_all_arrives_both_ways(
    net: Network, tmp_path: Path
) -> None:
    study = Study(tmp_path, FAR, 5)
    with net.cable.losing(10):
        with net.cable.at_the_far_end():
            sent = net.send(study.paths, host=net.cable.near, patience=30)
        assert sent == study.paths
        study.is_at(net, seconds=90)
    assert net.arrived(study.uid) == 5


CUTS: dict[str, Callable[[Cable], AbstractContextManager[None]]] = {
    "unplugged": Cable.unplugged,
    "a black hole": lambda cable: cable.losing(100),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_target_whose_network_is_cut_in_the_middle_gets_the_rest_later(
    net: Network, tmp_path: Path, cut: str
) -> None:
    study = Study(tmp_path, FAR, 40, 200_000)
    pauses = len(net.pauses(FAR))
    net.send(study.paths)
    until(lambda: len([*(net.directory / FAR).iterdir()]) > 3, what="some are there")
    with CUTS[cut](net.cable):
        assert net.fails(FAR)["kind"] in ("timeout", "unreachable")
        until(lambda: len(net.pauses(FAR)) > pauses + 1, what="it is asked again")
        assert net.burned(FAR) == 0
        assert not net.ended(study.uid, 40)
    study.is_at(net, twice=1)


@pytest.mark.parametrize("cut", CUTS)
def test_a_sender_whose_network_is_cut_in_the_middle_finds_all_that_was_answered(
    net: Network, tmp_path: Path, cut: str
) -> None:
    study, stored = Study(tmp_path, SHELF, 60, 200_000), list[Path]()
    sender = threading.Thread(
        target=lambda: stored.extend(net.send(study.paths, host=net.cable.near))
    )
    with net.cable.at_the_far_end():
        sender.start()
    until(lambda: len([*net.spool.root.glob("open/*/*.dcm")]) > 3, what="some are there")
    with CUTS[cut](net.cable):
        sender.join()
    assert 3 < len(stored) < len(study.paths)
    rest = study.paths[len(stored) :]
    with net.cable.at_the_far_end():
        assert net.send(rest, host=net.cable.near) == rest
    study.is_at(net)
    assert net.arrived(study.uid) in (60, 61)
