"""Syncs that threads share, and files that are whole or not there."""

import os
import resource
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossdock.spool.durable import SharedSync, write_file


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
        thread.join(60)
    assert sorted(done) == list(range(8))


def test_a_sync_that_fails_says_so_to_all_who_asked(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    names = SharedSync(descriptor)
    names.sync()
    os.close(descriptor)
    for _ in range(2):
        with pytest.raises(OSError, match="Bad file descriptor"):
            names.sync()


def test_a_file_that_the_disk_takes_in_part_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "parcel.json"
    write_file(path, b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match="too large"):
            write_file(path, bytes(1500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_several_write_at_once_is_always_whole(tmp_path: Path) -> None:
    """They may have one process number: in containers every service may be process 1."""
    place, contents = tmp_path / "note", {bytes([65 + n]) * 4000 for n in range(8)}
    write_file(place, min(contents))

    def write(content: bytes) -> None:
        for _ in range(20):
            write_file(place, content)
            assert place.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
