"""The smallest bandwidth: nobody takes a pause for an end, on neither side."""

import time
from pathlib import Path

import pytest

from contract.registry import REMOTES
from contract.remotes import dicom_target, outgoing_of
from crossdock.protocols import adapter_for
from servers.dcmtk import storescp
from studies import by_uid, make_ct


SLOWEST = "64 kbit/s"  # 8 kB/s
SECONDS = 3.0


def test_a_peer_with_a_short_time_out_is_kept_busy(tmp_path: Path) -> None:
    paths = make_ct(tmp_path / "ct", 1, size=int(8_000 * SECONDS))
    with storescp(tmp_path / "peer", "+B", "-td", "2", "-ts", "2") as peer:
        target = dicom_target(peer.port, bandwidth=SLOWEST)
        began = time.monotonic()
        with adapter_for(target) as adapter:
            (outcome,) = adapter.send(outgoing_of(paths))
        assert time.monotonic() - began >= 0.9 * SECONDS
        assert outcome.confirmed, outcome.detail
        assert by_uid(peer.files()) == by_uid(paths)


@pytest.mark.parametrize("protocol", ["dicomweb", "s3", "sftp", "xnat"])
def test_our_own_time_out_is_about_the_peer_and_not_about_our_waiting(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", "a-key-for-the-secrets-of-one-test-only")
    paths = make_ct(tmp_path / "ct", 2, size=int(8_000 * SECONDS / 2))
    with REMOTES[protocol](tmp_path) as remote:
        target = remote.target(bandwidth=SLOWEST, timeout=2)
        with adapter_for(target) as adapter:
            assert adapter.check().green
            began = time.monotonic()
            outcomes = list(adapter.send(outgoing_of(paths)))
        assert time.monotonic() - began >= 0.9 * SECONDS
        assert all(each.confirmed for each in outcomes), [each.detail for each in outcomes]
        assert remote.received() == by_uid(paths)
