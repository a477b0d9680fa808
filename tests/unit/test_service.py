"""What every service process does when it is told to stop."""

import subprocess
import sys


SIGNALS_WHILE_WAITING = """
import os, random, signal, threading
from crossdock.service import stop_on_signals

for _ in range(200):
    stopping = threading.Event()
    stop_on_signals(stopping)
    moment = random.random() * 0.002
    threading.Timer(moment, os.kill, (os.getpid(), signal.SIGTERM)).start()
    while not stopping.wait(0):
        pass
"""


def test_a_signal_that_comes_in_the_middle_of_waiting_for_it_is_heard() -> None:
    """A handler that sets the event itself can wait for ever for a lock of the main thread."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS_WHILE_WAITING], timeout=120, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
