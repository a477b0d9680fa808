"""The peers that adapters are tested against, as fixtures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.registry import REMOTES
from contract.remotes import Remote
from crossdock.protocols import ADAPTERS
from studies import make_ct


@pytest.fixture(params=sorted(ADAPTERS))
def remote(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Remote]:
    """The peer of each protocol in turn."""
    monkeypatch.setenv("CROSSDOCK_SECRET_KEY", "a-key-for-the-secrets-of-one-test-only")
    with REMOTES[request.param](tmp_path) as remote:
        yield remote


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A series of a thousand small instances."""
    return make_ct(tmp_path_factory.mktemp("thousand"), 1000)
