"""What the program knows: its variables, its words and its commands."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import typer

from crossdock.cli.main import app


_ROOT = Path(__file__).parents[1]


@cache
def source() -> str:
    """Return all of its code."""
    files = [*_ROOT.glob("shared/**/*.py"), *_ROOT.glob("services/**/*.py")]
    return "\n".join(file.read_text() for file in files)


def variables() -> set[str]:
    """Return the variables of the environment that it reads."""
    return set(re.findall(r"CROSSDOCK_[A-Z_]+[A-Z]", source()))


def parsed(command: str, *arguments: str) -> dict[str, Any]:
    """Return the parameters of a command line; fails if there is no such command or option."""
    group = typer.main.get_command(app)
    found = group.commands[command]  # type: ignore[attr-defined]  # a group, though typed a command
    with found.make_context(command, list(arguments)) as context:
        return dict(context.params)
