"""Packages of somebody else, as if they were installed."""

import os
import tomllib
from pathlib import Path


_PLUGINS = Path(__file__).parent / "plugin"
_TESTS = Path(__file__).parents[1]


def installed(site: Path, *names: str) -> dict[str, str]:
    """Write what an installer would into ``site``; return the environment that has the packages."""
    for name in names:
        project = tomllib.loads((_PLUGINS / name / "pyproject.toml").read_text())["project"]
        told = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        told.mkdir(parents=True)
        header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (told / "METADATA").write_text(header)
        groups = (
            "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in points.items()), ""])
            for group, points in project["entry-points"].items()
        )
        (told / "entry_points.txt").write_text("\n".join(groups))
    path = [site, *(_PLUGINS / name for name in names), _TESTS]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
