"""A target's adapter as a program: ``deliver.py SETTINGS LIST`` sends the files in LIST.

SETTINGS is a file. The seconds are those from opening the connection until it is closed; the CPU is
that of a process that converts, of ssh and of rsync, too. The instances came from as many senders
as ``--senders`` says.
"""

import argparse
import json
from pathlib import Path

from measured import adapter_of, instances_of, listed, measure, send_all


def main() -> None:
    """Deliver the files by an adapter of the settings."""
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("list", type=listed)
    parser.add_argument("--senders", type=int, default=1)
    arguments = parser.parse_args()
    instances = instances_of(arguments.list, arguments.senders)
    adapter = adapter_of(json.loads(arguments.settings.read_text()))

    def send() -> None:
        with adapter:
            send_all(adapter, instances)

    measure(send)


if __name__ == "__main__":
    main()
