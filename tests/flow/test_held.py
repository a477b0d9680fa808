"""What a target refuses is held with the reason, and a person decides what becomes of it."""

import subprocess
from pathlib import Path

from crossdock.cli.demo import demo_gateway
from ports import free_port
from running import Running, running
from servers import require
from servers.dcmtk import storescp
from studies import by_uid, make_mixed
from waiting import until


def _gateway(folder: Path, port: int, archive: int) -> dict[str, object]:
    gateway = demo_gateway(folder)
    gateway["store_nodes"][0]["port"] = port
    gateway["targets"].append(
        {"name": "archive", "type": "dicom", "host": "127.0.0.1", "port": archive}
        | {"called_ae_title": "ARCHIVE"}
    )
    gateway["rules"][0]["targets"].append("archive")
    return gateway


def _send(port: int, path: Path) -> None:
    command = [require("dcmsend"), "-aec", "CROSSDOCK", "-nuc", "-dn", "127.0.0.1", str(port)]
    subprocess.run([*command, str(path)], check=True, capture_output=True)


def _held(crossdock: Running) -> dict[str, object]:
    until(lambda: crossdock.deliveries(state="held"), what="the delivery is held")
    (held,) = crossdock.deliveries(state="held")
    return held


def test_a_refused_delivery_is_held_and_delivered_once_the_target_is_mended(
    tmp_path: Path, folder: Path
) -> None:
    private = make_mixed(tmp_path / "study")[-1]
    # Without -pm storescp takes no SOP class that it does not know.
    with storescp(tmp_path / "strict", "+B") as strict:
        gateway = _gateway(folder, port := free_port(), strict.port)
        with running(tmp_path / "data", gateway, CROSSDOCK_RETRY_SCALE="0.001") as crossdock:
            _send(port, private)
            held = _held(crossdock)
            assert held["missing"] == 1
            assert "does not accept" in str(held["reason"])
            until(lambda: list(folder.rglob("*.dcm")), what="the other target has it")
            detail = crossdock.api.get(f"/api/v1/deliveries/{held['id']}").json()
            assert detail["attempts"] == 5

            with storescp(tmp_path / "mended", "+B", "-pm") as mended:
                change = {"port": mended.port}
                assert crossdock.api.patch("/api/v1/targets/archive", json=change).is_success
                until(crossdock.ready, what="the change is in force")
                retry = crossdock.api.post(f"/api/v1/deliveries/{held['id']}/retry")
                assert retry.is_success, retry.text
                until(mended.files, what="it is delivered")
                until(lambda: not crossdock.deliveries(state="held"), what="the ledger knows")
                until(lambda: not list((tmp_path / "data/spool/parcels").iterdir()), what="retired")
            assert list(by_uid(mended.files())) == list(by_uid([private]))


def test_a_held_delivery_can_be_given_up_and_says_who_wanted_that(
    tmp_path: Path, folder: Path
) -> None:
    private = make_mixed(tmp_path / "study")[-1]
    with storescp(tmp_path / "strict", "+B") as strict:
        gateway = _gateway(folder, port := free_port(), strict.port)
        with running(tmp_path / "data", gateway, CROSSDOCK_RETRY_SCALE="0.001") as crossdock:
            _send(port, private)
            held = _held(crossdock)
            url = f"/api/v1/deliveries/{held['id']}/discard"
            assert crossdock.api.post(url, json={}).status_code == 422
            discard = crossdock.api.post(url, json={"reason": "a test object"})
            assert discard.is_success, discard.text
            until(lambda: crossdock.deliveries(state="discarded"), what="the ledger knows")
            (discarded,) = crossdock.deliveries(state="discarded")
            assert "a test object" in discarded["reason"]
            until(lambda: not list((tmp_path / "data/spool/parcels").iterdir()), what="retired")


def test_a_target_that_is_removed_takes_no_delivery_along(tmp_path: Path, folder: Path) -> None:
    private = make_mixed(tmp_path / "study")[-1]
    gateway = _gateway(folder, port := free_port(), free_port())  # the archive is down
    with running(tmp_path / "data", gateway, CROSSDOCK_RETRY_SCALE="0.001") as crossdock:
        _send(port, private)
        until(lambda: crossdock.deliveries(target="archive"), what="it waits for the archive")
        gateway["targets"].pop()  # type: ignore[attr-defined]
        gateway["rules"][0]["targets"].pop()  # type: ignore[index]
        refused = crossdock.put_gateway(gateway)
        assert refused.status_code == 409
        assert "'archive' has 1 unfinished delivery" in refused.json()["detail"]
        drained = crossdock.api.put("/api/v1/gateway", json=gateway, params={"waiting": "drain"})
        assert drained.json()["draining"] == {"archive": 1}
        elsewhere = {"waiting": "move:demo-folder"}

        def gone() -> bool:
            answer = crossdock.api.put("/api/v1/gateway", json=gateway, params=elsewhere)
            return answer.is_success and not answer.json()["draining"]

        until(gone, what="it is moved, when nobody works at it")
        assert crossdock.api.get("/api/v1/targets/archive").status_code == 404
        until(lambda: crossdock.deliveries(state="discarded"), what="the ledger knows")
        (moved,) = crossdock.deliveries(state="discarded")
        assert moved["reason"] == "moved to demo-folder"
        until(lambda: list(folder.rglob("*.dcm")), what="the folder has it")
        until(lambda: not list((tmp_path / "data/spool/parcels").iterdir()), what="retired")
