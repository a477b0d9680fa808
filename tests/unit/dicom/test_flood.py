"""Ten thousand connections without a word."""

import socket
import threading
from collections import deque
from pathlib import Path

from crossdock.dicom.part10 import read_file_meta
from crossdock.dicom.storage_scu import StorageScu
from servers.keeper import Keeper, keeping
from servers.samples import sample
from waiting import until


OPEN_AT_ONCE = 500


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_ten_thousand_silent_connections_lock_nobody_out_and_leave_nothing() -> None:
    path = sample("CT_small.dcm")
    meta = read_file_meta(path)
    keeper = Keeper()
    files, threads, most = open_files(), threading.active_count(), 0
    with keeping(keeper) as scp:
        silent: deque[socket.socket] = deque()
        for number in range(10_000):
            silent.append(socket.create_connection(scp.address, timeout=10))
            if len(silent) > OPEN_AT_ONCE:
                silent.popleft().close()
            if number % 1000 == 999:
                most = max(most, threading.active_count() - threads)
                with StorageScu(
                    *scp.address, called_ae_title="GATE", calling_ae_title="CT1"
                ) as scu:
                    scu.associate([(meta.sop_class_uid, [meta.transfer_syntax_uid])])
                    assert scu.store(path, meta) == 0
        for sock in silent:
            sock.close()
        until(lambda: threading.active_count() <= threads + 1)
    until(lambda: open_files() <= files)
    assert len(keeper.instances) == 10
    assert keeper.balanced
    assert most < 150
