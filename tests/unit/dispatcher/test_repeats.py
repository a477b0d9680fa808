"""Instances that come again: identical ones are not sent again where that is wanted."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from pydicom import dcmread

from crossdock.bus import Retry
from crossdock.config.targets import Target
from crossdock.messages import DeliveryAttempted, DeliveryRouted
from crossdock.protocols import ADAPTERS
from crossdock.spool import StoredParcel
from dispatcher.adapters import Adapters
from dispatcher.delivered import KEPT_SECONDS, Before, Delivered
from dispatcher.dispatch import Dispatch
from dispatcher.retry import RetryPolicy
from parcels import route, store_parcel
from studies import make_ct
from unit.dispatcher.places import Place
from unit.dispatcher.test_kills import CountingFolder, Fuse, Killed
from waiting import until


@dataclass
class Sender:
    """Sends the same files over and over to one folder."""

    place: Place
    paths: list[Path]
    later: float = 0.0

    def target(self, **changes: object) -> Target:
        return self.place.target(skip_repeated=True, **changes)

    def store(self) -> DeliveryRouted:
        """Store the files as a new parcel, and return the message of its delivery."""
        (message,) = route(store_parcel(self.place.spool, self.paths), "research")
        return message

    def handle(self, message: DeliveryRouted, target: Target | None = None) -> None:
        dispatch = Dispatch(
            self.place.spool,
            self.place.bus,
            RetryPolicy(),
            self.place.stopping,
            clock=lambda: time.time() + self.later,
        )
        with closing(Adapters(target or self.target())) as adapters:
            turn = nullcontext(lambda: False)
            dispatch.handle(adapters, message, self.place.hear, lambda: turn)

    def send(self, target: Target | None = None) -> DeliveryAttempted:
        """Deliver the files as a new parcel, and return what is told of it."""
        message = self.store()
        self.handle(message, target)
        return self.told(message)

    def told(self, message: DeliveryRouted) -> DeliveryAttempted:
        """Return what is told of the newest attempt at a delivery."""
        return until(
            lambda: next(
                (
                    fact
                    for fact in reversed(self.place.ledger)
                    if isinstance(fact, DeliveryAttempted) and fact.delivery == message.delivery
                ),
                None,
            )
        )

    def correct(self, path: Path, text: str) -> None:
        ds = dcmread(path)
        ds.StudyDescription = text
        ds.save_as(path, enforce_file_format=True)


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    place = Place(tmp_path)
    yield Sender(place, make_ct(tmp_path / "ct", 3))
    place.close()


def skipped(how: str = "skipped") -> float:
    labels = {"target": "research", "how": how}
    return REGISTRY.get_sample_value("crossdock_instances_repeated_total", labels) or 0.0


def test_identical_instances_are_not_sent_again_and_say_where_they_were(sender: Sender) -> None:
    before = skipped()
    first = sender.send()
    files = sender.place.files()
    again = sender.send()
    assert (again.delivered, again.refused, again.not_sent) == (3, 0, 0)
    assert sender.place.files() == files
    parcel = first.delivery.partition("-")[0]
    details = [outcome.detail for outcome in again.warned]
    assert details == [f"not sent again: already delivered in parcel {parcel}"] * 3
    assert first.warned == ()
    assert skipped() == before + 3


def test_what_a_person_has_sent_again_is_sent_again(sender: Sender) -> None:
    message = sender.store()
    sender.handle(message)
    for file in sender.place.files():
        file.unlink()
    stored = StoredParcel(sender.place.spool.retired / message.parcel)
    routed = stored.record("research", "done").routed.model_copy(update={"again_at": time.time()})
    sender.handle(stored.add(routed, sender.place.spool.parcels).delivery_routed(routed))
    assert len(sender.place.files()) == 3


def test_only_new_instances_of_a_series_are_sent(sender: Sender) -> None:
    late = sender.paths.pop()
    sender.send()
    sender.paths.append(late)
    again = sender.send()
    assert again.delivered == 3
    assert len(again.warned) == 2
    assert len(sender.place.files()) == 3


def test_other_bytes_under_the_same_uid_are_sent_and_flagged(sender: Sender) -> None:
    before = skipped("replaced")
    first = sender.send()
    sender.correct(sender.paths[1], "corrected")
    again = sender.send()
    (flagged,) = [outcome for outcome in again.warned if "replaces other bytes" in outcome.detail]
    assert flagged.number == 2
    assert first.delivery.partition("-")[0] in flagged.detail
    assert len(sender.place.files()) == 4
    assert skipped("replaced") == before + 1


def test_once_different_bytes_went_out_under_a_uid_it_is_always_sent(sender: Sender) -> None:
    original = sender.paths[0].read_bytes()
    sender.send()
    sender.correct(sender.paths[0], "corrected")
    sender.send()
    sender.paths[0].write_bytes(original)
    again = sender.send()
    assert sum("replaces other bytes" in outcome.detail for outcome in again.warned) == 1
    assert sum("not sent again" in outcome.detail for outcome in again.warned) == 2


def test_a_uid_that_is_twice_in_a_parcel_is_sent_twice_each_time(sender: Sender) -> None:
    twin = sender.paths[0].with_name("twin.dcm")
    twin.write_bytes(sender.paths[0].read_bytes())
    sender.correct(twin, "corrected")
    sender.paths.append(twin)
    for _ in range(2):
        told = sender.send()
        assert told.delivered == 4
    assert sum("not sent again" in outcome.detail for outcome in told.warned) == 2


@pytest.mark.parametrize("change", ["other settings", "switched off", "ninety days", "lost"])
def test_what_is_not_known_any_more_is_sent_again(sender: Sender, change: str) -> None:
    sender.send()
    target = None
    match change:
        case "other settings":
            target = sender.target(file_mode="600")
        case "switched off":
            sender.send(sender.place.target())
        case "ninety days":
            sender.later = KEPT_SECONDS + 60
        case "lost":
            (sender.place.spool.delivered / "research.sqlite").unlink()
    assert sender.send(target).warned == ()


def test_without_the_setting_everything_is_sent_and_nothing_remembered(sender: Sender) -> None:
    target = sender.place.target()
    for _ in range(2):
        assert sender.send(target).warned == ()
    assert not sender.place.spool.delivered.exists()


def test_what_a_target_refused_is_not_remembered(sender: Sender) -> None:
    in_the_way = sender.place.folder / "1"
    in_the_way.write_text("no directory")
    with pytest.raises(Retry):
        sender.send()
    in_the_way.unlink()
    again = sender.send()
    assert [outcome.number for outcome in again.warned] == [2, 3]
    assert len(sender.place.files()) == 3


def test_a_damaged_index_is_forgotten_and_everything_sent(sender: Sender) -> None:
    sender.send()
    (sender.place.spool.delivered / "research.sqlite").write_bytes(b"no database" * 1000)
    message = sender.store()
    with pytest.raises(Retry):
        sender.handle(message)
    sender.handle(message)
    assert sender.told(message).warned == ()


def test_while_the_index_cannot_be_used_nothing_is_sent(sender: Sender) -> None:
    index = sender.place.spool.delivered / "research.sqlite"
    index.mkdir(parents=True)
    message = sender.store()
    with pytest.raises(Retry):
        sender.handle(message)
    assert sender.place.files() == []
    index.rmdir()
    sender.handle(message)
    assert len(sender.place.files()) == 3


def test_a_dispatcher_that_dies_before_it_noted_the_outcome_sends_again(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse, sent, lost = Fuse(), Counter[int](), Counter[int]()
    monkeypatch.setitem(ADAPTERS, "folder", partial(CountingFolder, fuse, sent, lost))
    fuse.left = 3
    with pytest.raises(Killed):
        sender.send()
    fuse.left = None
    told = sender.send()
    assert told.delivered == 3
    assert sent[2] == 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from([b"x", b"y"]),
        st.sampled_from(["confirmed", "dies before", "dies after", "goes on beside"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_what_is_skipped_is_always_what_the_target_has(steps: list[tuple[bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        index = Delivered(Path(directory) / "index.sqlite", "here")
        has: set[bytes] = set()  # what the target may have under the UID
        beside: list[bytes] = []
        for content, end in steps:
            before = index.offer({"1.2": content}, "p", 0.0).get("1.2")
            if before is not None and before.same:
                assert has == {content}
                continue
            if end == "goes on beside":
                beside.append(content)
            if end != "dies before":
                has.add(content)
            if end == "confirmed":
                index.confirm({"1.2": content}, "p", 0.0)
                for other in beside:
                    index.confirm({"1.2": other}, "q", 0.0)


def test_an_index_says_in_which_parcel_it_was(tmp_path: Path) -> None:
    index = Delivered(tmp_path / "index.sqlite", "here")
    assert index.offer({"1.2": b"x"}, "first", 0.0) == {}
    assert index.offer({"1.2": b"x"}, "second", 0.0) == {}, "it is not confirmed yet"
    index.confirm({"1.2": b"x"}, "second", 0.0)
    assert index.offer({"1.2": b"x"}, "third", 0.0) == {"1.2": Before("second", same=True)}
    assert index.offer({"1.2": b"y"}, "third", 0.0) == {"1.2": Before("second", same=False)}
    assert Delivered(tmp_path / "index.sqlite", "there").offer({"1.2": b"x"}, "p", 0.0) == {}
