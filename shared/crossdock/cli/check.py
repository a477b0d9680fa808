"""``crossdock check``: can a target be reached, stage by stage."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossdock.cli.client import DEFAULT_API, Api, ApiUrl, fail
from crossdock.cli.document import Document, DocumentError


_COLOURS = {"ok": "green", "failed": "red", "skipped": "dim"}


def check(
    target: Annotated[str | None, typer.Argument(help="Name of a configured target.")] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="YAML of a target not saved yet.")
    ] = None,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Check a target; exit code 0 if all is well, 1 if not."""
    if (target is None) == (settings is None):
        fail("name a target, or give its --settings", 2)
    with Api(api) as config_api:
        if settings is not None:
            answer = config_api.call("POST", "checks", _read(settings))
        else:
            answer = config_api.call("POST", f"targets/{quote(target or '', safe='')}/check")
    result = answer.json()
    _show(result)
    raise typer.Exit(0 if result["green"] else 1)


def _read(file: Path) -> dict[str, Any]:
    try:
        document = Document(file)
    except DocumentError as error:
        fail(str(error))
    if not isinstance(document.data, dict):
        fail(f"{document.name}: write the fields of one target")
    return document.data


def _show(result: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("stage", "state", "ms", "what was found"):
        table.add_column(column, justify="right" if column == "ms" else "left", overflow="fold")
    for stage in result["report"]["stages"]:
        state = stage["state"]
        words = stage["detail"]
        if state == "failed" and stage["advice"]:
            words = f"{words}\n→ {stage['advice']}"
        coloured = f"[{_COLOURS[state]}]{state}[/]"
        table.add_row(stage["name"], coloured, f"{stage['milliseconds']:.0f}", escape(words))
    console = Console()
    console.print(table)
    verdict = "[green]can be used[/]" if result["green"] else "[red]cannot be used[/]"
    console.print(f"{escape(result['target'])} {verdict}")
