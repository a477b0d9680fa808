"""Protocols of other packages, as they would be installed."""

import shutil
from pathlib import Path


ENTRY_POINTS = """\
[crossdock.targets]
{name} = {name}.settings:{title}Target

[crossdock.adapters]
{name} = {name}.adapter:{title}Adapter
"""


def installed(name: str, directory: Path) -> Path:
    """Install a protocol's package into a directory of its own, for ``PYTHONPATH``."""
    shutil.copytree(Path(__file__).with_name(name), directory / name)
    information = directory / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    text = ENTRY_POINTS.format(name=name, title=name.title())
    (information / "entry_points.txt").write_text(text)
    return directory
