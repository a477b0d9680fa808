"""Syncs that threads share."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossdock.spool.durable import SharedSync


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_many_threads_sync_one_directory_to_their_ends(directory: int) -> None:
    names = SharedSync(directory)
    done: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            names.sync()
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(done) == list(range(8))


def test_a_sync_that_fails_says_so_to_all_who_asked(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    names = SharedSync(descriptor)
    names.sync()
    os.close(descriptor)
    for _ in range(2):
        with pytest.raises(OSError, match="Bad file descriptor"):
            names.sync()
