"""What operators do with targets and deliveries, through a whole gateway."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from crossdock.cli.demo import demo_gateway
from machine import crossdock as command
from ports import free_port
from running import Running, running
from servers import require
from servers.rabbitmq import RabbitMQ
from studies import by_uid, make_ct
from waiting import until


def two_folders(folder: Path, port: int) -> dict[str, Any]:
    """A gateway that sends everything to the folder target demo-folder, and knows another."""
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0]["port"] = port
    (folder.parent / "other").mkdir()
    gateway["targets"][0]["check_seconds"] = 0  # whatever happens is an operator's doing
    other = gateway["targets"][0] | {"name": "other", "path": str(folder.parent / "other")}
    gateway["targets"].append(other)
    return gateway


def send(port: int, paths: list[Path]) -> None:
    sender = [require("dcmsend"), "-aec", "CROSSDOCK", "127.0.0.1", str(port)]
    subprocess.run([*sender, *map(str, paths)], check=True, capture_output=True)


def run(gateway: Running, *arguments: str, stdin: str = "") -> str:
    """Run `crossdock` as the operator of a gateway; return what it printed."""
    result = command(*arguments, stdin=stdin, CROSSDOCK_API=f"http://{gateway.address()}")
    assert result.exit_code == 0, result.stdout + result.stderr
    return result.stdout


def test_a_paused_target_gets_its_deliveries_when_it_is_resumed_whatever_happens_meanwhile(
    tmp_path: Path, folder: Path, broker: str | None
) -> None:
    document = two_folders(folder, port := free_port())
    with running(tmp_path / "data", document, broker) as gateway:
        run(gateway, "targets", "pause", "demo-folder", "--reason", "the share is moved")
        send(port, files := make_ct(tmp_path / "ct", 3))
        (waiting,) = until(lambda: gateway.deliveries(state="waiting"), what="it waits")
        assert waiting["reason"] == "target demo-folder is paused: the share is moved"
        run(gateway, "apply", "-f", "-", stdin=yaml.safe_dump(document))
        gateway.kill("dispatcher")
        until(gateway.ready, what="the dispatcher is there again")
        listed = run(gateway, "targets", "list")
        assert "paused" in listed
        assert "the share is moved" in listed
        assert not list(folder.rglob("*.dcm"))
        run(gateway, "targets", "resume", "demo-folder")
        until(lambda: gateway.deliveries(state="delivered"), what="it is delivered")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(files)


def test_who_changes_something_is_told_which_services_do_not_know_yet(
    tmp_path: Path, folder: Path, own_rabbitmq: RabbitMQ
) -> None:
    document = two_folders(folder, free_port())
    with running(tmp_path / "data", document, own_rabbitmq.url) as gateway:
        url = f"http://{gateway.address()}"
        own_rabbitmq.kill()
        chosen = ("targets", "pause", "demo-folder", "--reason", "the share is moved")
        paused = command(*chosen, CROSSDOCK_API=url)
        assert paused.exit_code == 0
        assert "is in force" in paused.stdout
        for service in ("receiver", "router", "dispatcher", "tester"):
            assert f"{service}: works by revision" in paused.stderr
        own_rabbitmq.start()
        until(gateway.ready, what="they know")
        assert "no change" in run(gateway, *chosen)


def test_all_that_waits_for_a_target_is_tried_now_or_given_up_at_once(
    tmp_path: Path, folder: Path, broker: str | None
) -> None:
    document = two_folders(folder, port := free_port())
    away = folder.rename(tmp_path / "away")
    with running(tmp_path / "data", document, broker, CROSSDOCK_RETRY_SCALE="100") as gateway:
        files = [path for name in "abc" for path in make_ct(tmp_path / name, 1)]
        for path in files:
            send(port, [path])
        until(lambda: len(gateway.deliveries(state="waiting")) == 3, what="three wait")
        chosen = ("--target", "demo-folder", "--state", "waiting")
        assert "3 deliveries fit" in run(gateway, "deliveries", "retry", *chosen, "--dry-run")
        first = gateway.deliveries()[-1]["id"]
        until(lambda: gateway.api.get(f"/api/v1/deliveries/{first}").json()["attempts"] > 0)
        reason = ("--reason", "a test")
        discarded = run(gateway, "deliveries", "discard", first, *reason)
        assert "discarded" in discarded
        away.rename(folder)
        # Each target is left alone for a while after a failure, unless somebody touches it.
        assert "done: 2" in until(lambda: _retried(gateway, chosen), what="both are tried")
        patched = gateway.api.patch("/api/v1/targets/demo-folder", json={"concurrency": 2})
        assert patched.is_success
        until(lambda: len(gateway.deliveries(state="delivered")) == 2, what="they are delivered")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(files[1:])
        none = command("deliveries", "retry", CROSSDOCK_API=f"http://{gateway.address()}")
        assert none.exit_code == 2


def _retried(gateway: Running, chosen: tuple[str, ...]) -> str:
    """What retrying printed; nothing while one of them is in work or not known yet."""
    url = f"http://{gateway.address()}"
    result = command("deliveries", "retry", *chosen, CROSSDOCK_API=url)
    return result.stdout if result.exit_code == 0 and "done: 2" in result.stdout else ""


def test_a_delivered_parcel_is_sent_again_and_elsewhere_and_a_waiting_one_is_moved(
    tmp_path: Path, folder: Path, broker: str | None
) -> None:
    document = two_folders(folder, port := free_port())
    other = tmp_path / "other"
    with running(tmp_path / "data", document, broker) as gateway:
        send(port, files := make_ct(tmp_path / "ct", 3))
        (delivery,) = until(lambda: gateway.deliveries(state="delivered"), what="it is delivered")
        until(lambda: list((tmp_path / "data/spool/retired").iterdir()), what="it is retired")
        for path in folder.rglob("*.dcm"):
            path.unlink()
        parcel = delivery["parcel"]
        assert parcel in run(gateway, "parcels", "list")
        for target in ("demo-folder", "other"):
            assert f"sent to {target}" in run(gateway, "parcels", "send", parcel, "--to", target)
        until(lambda: len(list(folder.rglob("*.dcm"))) == 3, what="it is there again")
        until(lambda: len(gateway.deliveries(state="delivered")) == 2, what="both are delivered")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(files)
        assert by_uid(list(other.rglob("*.dcm"))) == by_uid(files)
        detail = gateway.api.get(f"/api/v1/deliveries/{delivery['id']}")
        assert [each["attempt"] for each in detail.json()["history"]] == [1, 1]
        assert "to other: delivered" in run(gateway, "parcels", "show", parcel)

        run(gateway, "targets", "pause", "demo-folder", "--reason", "the share is moved")
        send(port, more := make_ct(tmp_path / "more", 2))
        (waiting,) = until(lambda: gateway.deliveries(state="waiting"), what="it waits")
        run(gateway, "deliveries", "move", waiting["id"], "--to", "other")
        until(lambda: len(gateway.deliveries(state="delivered")) == 3, what="it is delivered")
        (moved,) = until(lambda: gateway.deliveries(state="discarded"), what="the old one ends")
        assert (moved["id"], moved["reason"]) == (waiting["id"], "moved to other")
        assert by_uid(list(other.rglob("*.dcm"))) == by_uid([*files, *more])
        audit = gateway.api.get("/api/v1/audit").json()["items"]
        assert [item["action"] for item in audit] == ["move", "send", "send"]


def test_a_file_without_a_target_drains_it_or_gives_its_deliveries_up(
    tmp_path: Path, folder: Path
) -> None:
    document = two_folders(folder, port := free_port())
    with running(tmp_path / "data", document) as gateway:
        run(gateway, "targets", "pause", "demo-folder", "--reason", "the share is moved")
        send(port, files := make_ct(tmp_path / "ct", 2))
        until(lambda: gateway.deliveries(state="waiting"), what="it waits")
        first = document["targets"].pop(0)
        document["rules"][0]["targets"] = ["other"]
        text = yaml.safe_dump(document)
        url = f"http://{gateway.address()}"
        refused = command("apply", "-f", "-", stdin=text, CROSSDOCK_API=url)
        assert refused.exit_code == 1
        assert "has 1 unfinished delivery" in refused.stderr
        assert "removed when they are done" in run(
            gateway, "apply", "-f", "-", "--waiting", "drain", stdin=text
        )
        run(gateway, "targets", "resume", "demo-folder")
        until(lambda: len(list(folder.rglob("*.dcm"))) == 2, what="it is delivered")
        url = "/api/v1/targets/demo-folder"
        until(lambda: gateway.api.get(url).status_code == 404, what="it is removed")
        assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(files)

        document["targets"].append(first | {"path": str(tmp_path / "nowhere")})
        document["rules"][0]["targets"].append("demo-folder")
        run(gateway, "apply", "-f", "-", stdin=yaml.safe_dump(document))
        send(port, make_ct(tmp_path / "more", 1))
        until(lambda: gateway.deliveries(state="waiting"), what="it waits")
        applied = until(lambda: _applied(gateway, text), what="its delivery is given up")
        assert "- target demo-folder" in applied or "no change" in applied
        until(lambda: gateway.deliveries(state="discarded"), what="the ledger knows")


def _applied(gateway: Running, text: str) -> str:
    """What applying printed once nothing is left; a delivery in work is left."""
    printed = run(gateway, "apply", "-f", "-", "--waiting", "discard", stdin=text)
    return "" if "unfinished" in printed else printed
