"""``crossdock check``: can a target be reached, stage by stage, now or when it was last checked."""

from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossdock.cli.client import DEFAULT_API, Api, ApiUrl, fail, moment
from crossdock.cli.document import Document, DocumentError


_COLOURS = {"ok": "green", "failed": "red", "skipped": "dim"}


def check(
    target: Annotated[str | None, typer.Argument(help="Name of a configured target.")] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="YAML of a target not saved yet.")
    ] = None,
    *,
    last: Annotated[
        bool, typer.Option("--last", help="Check nothing: show the last check, or that of each.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Check nothing: list the target's checks.")
    ] = False,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Check a target; exit code 0 if all is well, 1 if not."""
    if last or history:
        if settings is not None or (history and (last or target is None)):
            fail("name a target for its --history; --last takes a target or none", 2)
        _show_known(api, target, history=history)
    if (target is None) == (settings is None):
        fail("name a target, or give its --settings", 2)
    with Api(api) as config_api:
        if settings is not None:
            answer = config_api.call("POST", "checks", _read(settings))
        else:
            answer = config_api.call("POST", f"{_path(target or '')}/check")
    _conclude(answer.json())


def _path(target: str) -> str:
    return f"targets/{quote(target, safe='')}"


def _read(file: Path) -> dict[str, Any]:
    try:
        document = Document(file)
    except DocumentError as error:
        fail(str(error))
    if not isinstance(document.data, dict):
        fail(f"{document.name}: write the fields of one target")
    return document.data


def _show_known(api: str, target: str | None, *, history: bool) -> NoReturn:
    """Print what earlier checks found, and end the command."""
    with Api(api) as config_api:
        if target is None:
            found = config_api.call("GET", "checks").json()["items"]
        else:
            limit = None if history else 1
            found = config_api.call("GET", f"{_path(target)}/checks", limit=limit).json()["items"]
    if not found:
        fail("no target was checked yet" if target is None else f"{target} was not checked yet")
    if target is None or history:
        Console().print(_list(found))
        raise typer.Exit(0 if all(each["green"] for each in found) or history else 1)
    Console().print(f"checked {moment(found[0]['at'])} UTC")
    _conclude(found[0])


def _list(found: list[dict[str, Any]]) -> Table:
    """Return a table with a line for each check."""
    since = any("since" in each for each in found)
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = ["target", "state", *(["since (UTC)"] if since else []), "checked (UTC)"]
    for column in (*columns, "what failed"):
        table.add_column(column, overflow="fold")
    for each in found:
        failed = [stage for stage in each["report"]["stages"] if stage["state"] == "failed"]
        table.add_row(
            escape(each["target"]),
            "[green]green[/]" if each["green"] else "[red]red[/]",
            *([moment(each["since"])] if since else []),
            moment(each["at"]),
            escape("; ".join(f"{stage['name']}: {stage['detail']}" for stage in failed)),
        )
    return table


def show(target: str, *, green: bool, stages: list[dict[str, Any]]) -> None:
    """Print the stages of a check, and whether the target can be used."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("stage", "state", "ms", "what was found"):
        table.add_column(column, justify="right" if column == "ms" else "left", overflow="fold")
    for stage in stages:
        state = stage["state"]
        words = stage["detail"]
        if state == "failed" and stage["advice"]:
            words = f"{words}\n→ {stage['advice']}"
        coloured = f"[{_COLOURS[state]}]{state}[/]"
        table.add_row(stage["name"], coloured, f"{stage['milliseconds']:.0f}", escape(words))
    console = Console()
    console.print(table)
    verdict = "[green]can be used[/]" if green else "[red]cannot be used[/]"
    console.print(f"{escape(target)} {verdict}")


def _conclude(result: dict[str, Any]) -> NoReturn:
    show(result["target"], green=result["green"], stages=result["report"]["stages"])
    raise typer.Exit(0 if result["green"] else 1)
