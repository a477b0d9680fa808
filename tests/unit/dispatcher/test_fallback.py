"""Who gets what a target does not take, or has been failing to take for long."""

from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from crossdock.bus import Retry, connect
from crossdock.bus.topology import deliveries
from crossdock.config.snapshot import Gateway
from crossdock.config.targets import Target
from crossdock.errors import BusError
from crossdock.messages import DeliveryRouted, Message
from crossdock.model import DeliveryState, Priority
from crossdock.spool import Routed, StoredParcel
from dispatcher.adapters import Adapters
from dispatcher.dispatch import Dispatch
from dispatcher.fallback import Fallbacks
from dispatcher.retry import RetryPolicy
from parcels import route, store_parcel
from studies import make_ct
from unit.dispatcher.places import Place
from waiting import until


class WithFallbacks(Place):
    """A dispatcher with fallbacks, whose clock stands still until it is set."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.now = 0.0
        self.fallbacks = Fallbacks(self.spool, self.bus, ["folder"], lambda: self.now)
        self.targets: dict[str, Target] = {}
        policy = RetryPolicy().scaled(1e-9)
        self._dispatch = Dispatch(self.spool, self.bus, policy, self.stopping, self.fallbacks)

    def configure(self, **targets: dict[str, object]) -> None:
        """Configure folder targets, each with a directory of its own name."""
        for name, settings in targets.items():
            (self.directory / name).mkdir(exist_ok=True)
            path = str(self.directory / name)
            self.targets[name] = self.target(name, **{"path": path, **settings})
        gateway = Gateway.model_construct(targets=tuple(self.targets.values()))
        self.fallbacks.configure(gateway, 7)

    def attempt(self, message: Message, times: int = 1) -> None:
        """Have a delivery attempted; all but the last time it must come again."""
        assert isinstance(message, DeliveryRouted)
        with closing(Adapters(self.targets[message.target])) as adapters:
            for last in [False] * (times - 1) + [True]:
                with nullcontext() if last else pytest.raises(Retry):
                    self._dispatch.handle(
                        adapters, message, self.hear, lambda: nullcontext(lambda: False)
                    )

    def hold(self, stored: StoredParcel, message: Message) -> None:
        """Have a delivery refused for its second instance until it is held."""
        assert isinstance(message, DeliveryRouted)
        in_the_way = self.directory / message.target / "2"
        in_the_way.touch()
        self.attempt(message, 5)
        assert stored.targets("held")

    def taken(self, queue: str) -> list[Message]:
        """Take what is in a queue now."""
        depth, found = self.bus.depth(queue), list[Message]()
        consumer = self.bus.consume(queue, found.append)
        until(lambda: len(found) >= depth)
        consumer.close()
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[WithFallbacks]:
    place = WithFallbacks(tmp_path)
    yield place
    place.close()


def routed(stored: StoredParcel, **changes: object) -> Message:
    settings = {
        "target": "archive",
        "protocol": "folder",
        "rules": ("r",),
        "revision": 1,
        "at": 1.0,
    }
    stored.route([Routed.model_validate(settings | changes)])
    return stored.delivery_routed(stored.record("archive").routed)


def test_what_is_held_goes_to_the_fallback_without_what_the_target_has(
    place: WithFallbacks,
) -> None:
    place.configure(archive={"fallback": "vault"}, vault={})
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", 3))
    message = routed(stored, priority=Priority.URGENT)
    place.hold(stored, message)
    (end,) = place.ends(1)
    assert (end.state, end.missing) == (DeliveryState.HELD, 1)
    assert end.reason.endswith("; its fallback target vault gets what is missing, 1 in number")
    (given,) = place.taken(deliveries("vault", Priority.URGENT))
    assert isinstance(given, DeliveryRouted)
    assert (given.instances, given.revision, given.instead_of) == (1, 7, "archive")
    assert given in place.ledger
    place.attempt(given)
    assert [path.parent.name for path in (place.directory / "vault").rglob("*.dcm")] == ["2"]
    assert stored.targets("held") == ["archive"]
    assert place.spool.find(stored.id) is not None


def test_held_again_after_a_retry_it_is_not_given_away_twice(place: WithFallbacks) -> None:
    place.configure(archive={"fallback": "vault"}, vault={})
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", 2))
    message = routed(stored)
    place.hold(stored, message)
    place.taken(deliveries("vault"))
    stored.resume("archive")
    place.attempt(message, 5)
    assert place.ends(2)[1].reason.endswith("its fallback target vault has been given it")
    assert place.bus.depth(deliveries("vault")) == 0


def test_a_fallback_whom_nobody_could_be_told_of_is_given_it_once_and_told_of_later(
    place: WithFallbacks,
) -> None:
    place.configure(archive={"fallback": "vault"}, vault={})
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", 2))
    message = routed(stored)
    (place.directory / "archive" / "2").touch()
    for _ in range(4):
        with pytest.raises(Retry):
            place.attempt(message)
    claim = stored.claim("archive")
    assert claim is not None
    broken = connect(place.url)
    broken.close()
    deaf = Fallbacks(place.spool, broken, ["folder"])
    deaf.configure(Gateway.model_construct(targets=tuple(place.targets.values())), 7)
    with pytest.raises(BusError):
        deaf.divert(stored, claim)
    claim.release()
    assert stored.targets("pending") == ["archive", "vault"]
    place.attempt(message)
    assert "gets what is missing, 1 in number" in place.ends(1)[0].reason
    assert len(place.taken(deliveries("vault"))) == 1


def test_a_fallback_may_have_one_of_its_own_and_there_it_ends(place: WithFallbacks) -> None:
    place.configure(archive={"fallback": "a"}, a={"fallback": "b"}, b={"fallback": "c"}, c={})
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", 2))
    place.hold(stored, routed(stored))
    for name in ("a", "b"):
        (message,) = place.taken(deliveries(name))
        place.hold(stored, message)
    assert stored.targets("held") == ["a", "archive", "b"]
    assert place.bus.depth(deliveries("c")) == 0
    assert "fallback" not in place.ends(3)[2].reason


def test_the_fallback_of_the_rule_comes_before_that_of_the_target(place: WithFallbacks) -> None:
    place.configure(archive={"fallback": "vault"}, vault={}, desk={})
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", 2))
    place.hold(stored, routed(stored, fallback="desk"))
    assert stored.targets("pending") == ["desk"]


def test_a_fallback_that_gets_the_parcel_anyway_or_is_not_there_is_only_named(
    place: WithFallbacks,
) -> None:
    place.configure(archive={"fallback": "vault"}, vault={})
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", 2))
    message, _ = route(stored, "archive", "vault")
    place.hold(stored, message)
    assert place.ends(1)[0].reason.endswith("vault has a delivery of this parcel already")
    place.configure(archive={"fallback": "attic"})
    other = store_parcel(place.spool, make_ct(place.directory / "other", 2))
    place.attempt(routed(other), 5)
    assert place.ends(2)[1].reason.endswith("its fallback target attic is not configured")


def test_what_waits_for_a_target_that_fails_for_too_long_is_given_away_and_goes_on_waiting(
    place: WithFallbacks,
) -> None:
    place.configure(archive={"fallback": "vault", "fallback_after": 600}, vault={})
    (place.directory / "archive").rmdir()
    tried, untried = (
        store_parcel(place.spool, make_ct(place.directory / name, 2)) for name in ("one", "two")
    )
    message, other = routed(tried), routed(untried)
    with pytest.raises(Retry):
        place.attempt(message)
    place.now += 599
    place.fallbacks.look()
    assert tried.targets("pending") == ["archive"]
    place.now += 1
    for _ in range(2):
        place.fallbacks.look()
    assert place.bus.depth(deliveries("vault")) == 2
    for stored in (tried, untried):
        assert stored.targets("pending") == ["archive", "vault"]
    with pytest.raises(Retry):
        place.attempt(other)
    assert place.attempts(2)[1].detail.endswith("its fallback target vault has been given it")
    for given in place.taken(deliveries("vault")):
        place.attempt(given)
    (place.directory / "archive").mkdir()
    place.attempt(message)
    place.attempt(other)
    assert [end.state for end in place.ends(4)] == [DeliveryState.DELIVERED] * 4
    assert len(list((place.directory / "archive").rglob("*.dcm"))) == 4
    assert not list(place.spool.stored())


def test_a_target_that_works_again_or_is_mended_begins_to_fail_anew(place: WithFallbacks) -> None:
    place.configure(archive={"fallback": "vault", "fallback_after": 60}, vault={})
    stored = store_parcel(place.spool, make_ct(place.directory / "ct", 1))
    message = routed(stored)
    waiting = store_parcel(place.spool, make_ct(place.directory / "waiting", 1))
    routed(waiting)
    (place.directory / "archive").rmdir()
    with pytest.raises(Retry):
        place.attempt(message)
    (place.directory / "archive").mkdir()
    place.attempt(message)
    place.now += 100
    place.fallbacks.look()
    assert waiting.targets("pending") == ["archive"]
