"""The demo of ``crossdock up --demo``: a store node, a folder target, and what is sent there."""

from pathlib import Path
from typing import Any


STORE_NODE = "demo"
TARGET = "demo-folder"


def demo_gateway(folder: Path) -> dict[str, Any]:
    """Return the demo's configuration: one store node, one folder, one rule for everything."""
    return {
        "store_nodes": [
            {"name": STORE_NODE, "ae_title": "CROSSDOCK", "port": 11112, "accept": "any"}
        ],
        "targets": [{"name": TARGET, "type": "folder", "path": str(folder)}],
        "rules": [{"name": "everything-to-the-demo-folder", "targets": [TARGET]}],
    }
