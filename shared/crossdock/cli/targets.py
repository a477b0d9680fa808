"""``crossdock targets``: how each target stands, and stopping one for a while."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossdock.cli.client import DEFAULT_API, Api, ApiUrl, moment


app = typer.Typer(no_args_is_help=True, help="See how targets stand, pause and resume them.")

_STATES = {
    "enabled": "enabled",
    "paused": "[yellow]paused[/]",
    "disabled": "[dim]disabled[/]",
    "draining": "[yellow]draining[/]",
}
_CHECKS = {None: "", True: "[green]up[/]", False: "[red]down[/]"}

Name = Annotated[str, typer.Argument(help="Name of the target.")]


@app.command("list")
def index(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """List the targets: paused or not, up or down by the last check, and what waits for each."""
    with Api(api) as config_api:
        found = config_api.call("GET", "standings").json()["items"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif not found:
        typer.echo("no targets")
    else:
        Console().print(_table(found))


@app.command()
def pause(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, for everyone who wonders what waits.")],
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Pause a target: deliveries in work are finished, all others wait in its queue.

    It stays paused until somebody resumes it, over restarts and `crossdock apply`.
    """
    _post(api, name, "pause", {"reason": reason})


@app.command()
def resume(name: Name, api: ApiUrl = DEFAULT_API) -> None:
    """Resume a paused target: what waited is sent."""
    _post(api, name, "resume")


def _post(api: str, name: str, what: str, body: Any = None) -> None:
    with Api(api) as config_api:
        path = f"targets/{quote(name, safe='')}/{what}"
        typer.echo(config_api.call("POST", path, body).json()["detail"])
        config_api.await_taken()


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("target", "type", "state", "check", "waiting", "held", "oldest waiting (UTC)"):
        number = column in ("waiting", "held")
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    table.add_column("reason", overflow="fold")
    for each in found:
        table.add_row(
            escape(each["target"]),
            escape(each["type"]),
            _STATES.get(each["state"], escape(each["state"])),
            _CHECKS[each["green"]],
            str(each["waiting"]),
            str(each["held"]),
            moment(each["oldest_waiting"]),
            escape(each["reason"]),
        )
    return table
