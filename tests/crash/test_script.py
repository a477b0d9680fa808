"""A dispatcher killed when it has begun the script of an rsync target: it is not run again."""

from pathlib import Path

from crash.gateway import Gateway
from crash.house import House
from crash.modality import Modality
from crossdock.faults import Point
from servers.sshd import has_rsync, sshd
from studies import by_uid, make_ct
from waiting import until


POINT: Point = "dispatcher.script_begun"


def _to_server(gateway: Gateway, settings: dict[str, object]) -> None:
    target = {"name": "cluster", "type": "rsync", "run_on_complete": True, **settings}
    rules = [{"name": "all", "targets": ["cluster"]}]
    gateway.configure(gateway.document | {"targets": [target], "rules": rules})
    gateway.wait_ready()


def test_the_images_are_there_and_it_is_said_that_the_script_may_have_run(tmp_path: Path) -> None:
    has_rsync()
    files = make_ct(tmp_path / "study", 3)
    place = tmp_path / "place"
    place.mkdir()
    script = place / "mercure_complete.sh"
    script.write_text(f"#!/bin/sh\necho ran >> {place}/ran\n")
    script.chmod(0o755)
    with sshd(tmp_path / "sshd") as server, House(tmp_path, with_rabbitmq=False) as house:
        gateway = house.gateway()
        _to_server(gateway, server.settings(path=str(place)))
        gateway.arm(POINT, 1, pause=False)
        sender = Modality(house.store_port, files)
        sender.start()
        until(lambda: gateway.fired(POINT), what=f"{POINT} is reached")
        gateway.wait_dead("dispatcher")
        gateway.start("dispatcher")
        sender.join()
        (delivery,) = until(lambda: gateway.ledger("deliveries", state="delivered"))
    assert "may have run" in delivery["reason"]
    assert by_uid(list(place.rglob("*.dcm"))) == by_uid(files)
    assert not (place / "ran").exists()
