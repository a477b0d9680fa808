"""The story of one study over TLS, from the sender to the target."""

from pathlib import Path

from ports import free_port
from running import Running, running
from servers.certificates import Authority, Issued
from servers.dcmtk import run, storescp
from studies import by_uid, make_ct
from waiting import until


LOCAL = "DNS:localhost,IP:127.0.0.1"


def _showing(issued: Issued, authority: Authority) -> list[str]:
    """Return DCMTK's options: what to show, and whom to trust."""
    words = ("+tls", issued.key, issued.certificate, "+cf", authority.certificate)
    return list(map(str, words))


def _tls(issued: Issued, authority: Authority) -> dict[str, str]:
    return {
        "certificate": str(issued.certificate),
        "key": str(issued.key),
        "ca": str(authority.certificate),
    }


def _settled(crossdock: Running, count: int) -> bool:
    rows = crossdock.deliveries()
    return len(rows) == count and all(row["state"] == "delivered" for row in rows)


def test_a_study_comes_in_over_tls_and_goes_out_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    ours = authority.issue("gateway.hospital", alternative=LOCAL)
    archive = authority.issue("archive.hospital", alternative=LOCAL)
    modality = authority.issue("ct1.hospital")
    stranger = Authority(tmp_path / "other", "Other CA").issue("stranger")
    sent = [path for name in ("a", "b") for path in make_ct(tmp_path / name, 3)]
    with storescp(tmp_path / "archive", "+B", "+xa", *_showing(archive, authority)) as peer:
        port = free_port()
        source = {"ae_title": "CT1", "certificate": "ct1.hospital"}
        node = {"name": "secure", "ae_title": "CROSSDOCK", "port": port, "sources": [source]}
        target = {"name": "archive", "type": "dicom+tls", "host": "127.0.0.1", "port": peer.port}
        gateway = {
            "store_nodes": [{**node, "tls": _tls(ours, authority)}],
            "targets": [{**target, "called_ae_title": "ARCHIVE", "tls": _tls(ours, authority)}],
            "rules": [{"name": "all", "targets": ["archive"]}],
        }
        asking = ["-aet", "CT1", "-aec", "CROSSDOCK", "127.0.0.1", port, *sent]
        with running(tmp_path / "data", gateway) as crossdock:
            assert run("storescu", *asking).returncode != 0, "plain"
            assert run("storescu", *_showing(stranger, authority), *asking).returncode != 0
            done = run("storescu", *_showing(modality, authority), *asking)
            assert done.returncode == 0, done.stdout
            until(lambda: _settled(crossdock, 2), what="both deliveries")
        assert by_uid(peer.files()) == by_uid(sent)
