"""Reads and writes the YAML that people write: safely, and with the line of every field."""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from crossdock.errors import CrossdockError


class DocumentError(CrossdockError):
    """A file cannot be read as YAML; says where."""


class _Loader(yaml.SafeLoader):
    """Plain data only, every key once, and dates and times of day stay text."""


_TIME_OF_DAY = ("tag:yaml.org,2002:str", re.compile(r"[0-9]{1,2}:[0-9]{2}$"))  # no number

_Loader.yaml_implicit_resolvers = {
    first: [
        _TIME_OF_DAY,
        *((tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")),
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key.value!r} is there twice", key.start_mark
            )
        seen.add(str(key.value))
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


class Document:
    """A YAML file: its ``data``, and where each field stands.

    Raises:
        DocumentError: it cannot be read; the text names the file, and the line where there is one.
    """

    def __init__(self, file: Path | None) -> None:
        self.name = "standard input" if file is None else str(file)
        try:
            text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise DocumentError(f"{self.name}: {reason}") from None
        try:
            self._root = yaml.compose(text, Loader=_Loader)
            self.data = yaml.load(text, Loader=_Loader)  # noqa: S506 — a SafeLoader
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise DocumentError(f"{self.name}{_where(error)}") from None

    def line(self, field: str) -> int | None:
        """Return the line of ``targets[2].port``, or of the nearest thing around it."""
        node, line = self._root, None
        for part in re.findall(r"[^.\[\]]+", field):
            node = _child(node, part)
            if node is None:
                break
            line = node.start_mark.line + 1
        return line


def dump(data: Any) -> str:
    """Return data as YAML, in the order that it has."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=False)


def _child(node: yaml.Node | None, part: str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and part.isdigit():
        return node.value[int(part)] if int(part) < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or "this is not YAML that can be read"
    return f"{line}: {problem}"
