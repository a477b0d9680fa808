"""The story of one study: sent by a real peer, routed by the rules, delivered to real targets."""

import subprocess
from pathlib import Path

from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.storage_scu import StorageScu
from ports import free_port
from running import Running, running
from servers import require
from servers.dcmtk import storescp
from studies import PATIENT, by_uid, make_ct, make_mixed
from waiting import until


def _gateway(port: int, folder: Path, archive: int) -> dict[str, object]:
    return {
        "store_nodes": [{"name": "main", "ae_title": "CROSSDOCK", "port": port, "accept": "any"}],
        "targets": [
            {"name": "research", "type": "folder", "path": str(folder)},
            {
                "name": "archive",
                "type": "dicom",
                "host": "127.0.0.1",
                "port": archive,
                "called_ae_title": "ARCHIVE",
            },
        ],
        "rules": [
            {"name": "everything-to-archive", "targets": ["archive"]},
            {
                "name": "ct-to-research",
                "when": 'Modality == "CT" and "CHEST" in StudyDescription',
                "targets": ["research"],
            },
            {"name": "private-too", "when": 'Modality == "OT"', "targets": ["research", "archive"]},
        ],
    }


def _as_sent(directory: Path, paths: list[Path]) -> dict[str, bytes]:
    """Return what dcmsend puts on the wire: it leaves out trailing padding, for one."""
    with storescp(directory, "+B", "+xa", "-pm") as direct:
        _dcmsend(direct.port, *paths)
        return by_uid(direct.files())


def _dcmsend(port: int, *paths: Path, called: str = "CROSSDOCK") -> None:
    command = [require("dcmsend"), "-aec", called, "-nuc", "-dn", "127.0.0.1", str(port)]
    subprocess.run([*command, *map(str, paths)], check=True, capture_output=True)


def _settled(crossdock: Running, count: int) -> bool:
    rows = crossdock.deliveries()
    return len(rows) == count and all(row["state"] == "delivered" for row in rows)


def test_a_mixed_study_reaches_exactly_the_targets_that_the_rules_say(
    tmp_path: Path, folder: Path, broker: str | None
) -> None:
    sent = make_mixed(tmp_path / "study")
    as_sent = _as_sent(tmp_path / "direct", sent)
    with storescp(tmp_path / "archive", "+B", "+xa", "-pm") as archive:
        gateway = _gateway(port := free_port(), folder, archive.port)
        with running(tmp_path / "data", gateway, broker) as crossdock:
            _dcmsend(port, *sent)
            # series: CT, MR, JPEG 2000, SR, private → archive; CT and private → research
            until(lambda: _settled(crossdock, 7), what="all deliveries")
            deliveries = crossdock.deliveries()
            assert crossdock.parcels(state="held") == []

    assert by_uid(archive.files()) == as_sent
    wanted = set(by_uid([*sent[:3], sent[-1]]))
    in_folder = by_uid(list(folder.rglob("*.dcm")))
    assert in_folder == {uid: as_sent[uid] for uid in wanted}
    markers = {path.parent for path in folder.rglob(".complete")}
    assert markers == {path.parent for path in folder.rglob("*.dcm")}

    by_target = {
        target: [row for row in deliveries if row["target"] == target]
        for target in ("archive", "research")
    }
    assert sum(row["delivered"] for row in by_target["archive"]) == len(sent)
    assert sum(row["delivered"] for row in by_target["research"]) == len(wanted)
    rules = {rule for row in by_target["research"] for rule in row["rules"]}
    assert rules == {"ct-to-research", "private-too"}
    assert all(
        rule == "everything-to-archive" for row in by_target["archive"] for rule in row["rules"][:1]
    )


def test_no_patient_data_gets_into_the_log(tmp_path: Path, folder: Path) -> None:
    sent = make_mixed(tmp_path / "study")
    gateway = _gateway(port := free_port(), folder, free_port())  # the archive is down
    with running(tmp_path / "data", gateway, None, CROSSDOCK_LOG="debug") as crossdock:
        _dcmsend(port, *sent)
        until(lambda: any(row["state"] == "delivered" for row in crossdock.deliveries()))
        until(lambda: any(row["attempts"] for row in crossdock.deliveries(target="archive")))
        address = crossdock.address()
        metrics = crossdock.api.get("/metrics").text
    log = crossdock.log.read_text()
    assert address
    assert "delivery.delivered" in log
    for secret in (PATIENT, PATIENT.split("^")[0], "SECRET-ID", "CompressedSamples"):
        assert secret not in log
        assert secret not in metrics


def test_what_nobody_wants_is_held_and_visible_and_can_be_routed_later(
    tmp_path: Path, folder: Path
) -> None:
    sent = make_mixed(tmp_path / "study")
    gateway = _gateway(port := free_port(), folder, free_port())
    gateway["rules"] = []
    with running(tmp_path / "data", gateway) as crossdock:
        _dcmsend(port, *sent)
        until(lambda: len(crossdock.parcels(state="held")) == 5, what="five held parcels")
        held = crossdock.parcels(state="held")
        assert all("no enabled rule" in parcel["reason"] for parcel in held)
        assert len(list((tmp_path / "data/spool/held").rglob("*.dcm"))) == len(sent)

        gateway["rules"] = [{"name": "all", "targets": ["research"]}]
        assert crossdock.put_gateway(gateway).is_success
        for parcel in held:
            until(
                lambda parcel=parcel: (
                    crossdock.api.post(f"/api/v1/parcels/{parcel['id']}/route").is_success
                ),
                what="the parcel is routed",
            )
        until(lambda: _settled(crossdock, 5), what="all deliveries")
    assert by_uid(list(folder.rglob("*.dcm"))) == _as_sent(tmp_path / "direct", sent)


def test_forwarding_starts_while_a_long_series_is_still_arriving(
    tmp_path: Path, folder: Path
) -> None:
    paths = make_ct(tmp_path / "study", 12)
    gateway = _gateway(port := free_port(), folder, free_port())
    gateway["store_nodes"][0]["parcel_instances"] = 5  # type: ignore[index]
    gateway["rules"] = [{"name": "all", "targets": ["research"]}]
    with running(tmp_path / "data", gateway) as crossdock:
        metas = [(path, read_file_meta(path)) for path in paths]
        scu = StorageScu("127.0.0.1", port, called_ae_title="CROSSDOCK", calling_ae_title="CT1")
        with scu:
            scu.associate([(metas[0][1].sop_class_uid, (metas[0][1].transfer_syntax_uid,))])
            for path, meta in metas[:11]:
                assert scu.store(path, meta) == 0
            until(lambda: len(list(folder.rglob("*.dcm"))) == 10, what="two parcels of five")
            assert scu.store(*metas[11]) == 0
            scu.release()
        until(lambda: _settled(crossdock, 3))
    assert by_uid(list(folder.rglob("*.dcm"))) == by_uid(paths)
