"""Writes the dashboards: ``python deploy/grafana/generate.py``, or to the directory it is given."""

import json
import sys
from pathlib import Path

from overview import OVERVIEW
from store_node import STORE_NODE
from target import TARGET


_BESIDE = Path(__file__).parent / "dashboards"


def write(directory: Path) -> None:
    """Write each dashboard to a file of its name."""
    for name, content in (("overview", OVERVIEW), ("target", TARGET), ("store-node", STORE_NODE)):
        (directory / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else _BESIDE)
