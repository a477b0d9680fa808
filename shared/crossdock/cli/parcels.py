"""``crossdock parcels``: what arrived, and sending it somewhere by hand."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossdock.cli.client import DEFAULT_API, Api, ApiUrl, moment


app = typer.Typer(no_args_is_help=True, help="See parcels, and send one to a target.")

_FIELDS = ("store_node", "calling_ae_title", "address", "study_instance_uid", "series_instance_uid")

Identifier = Annotated[str, typer.Argument(help="The parcel, as `parcels list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("list")
def index(
    state: Annotated[str | None, typer.Option(help="received, routed, held or discarded.")] = None,
    study: Annotated[str | None, typer.Option(help="StudyInstanceUID.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """List parcels, newest first."""
    with Api(api) as config_api:
        answer = config_api.call("GET", "parcels", limit=limit, state=state, study=study)
    found = answer.json()["items"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif not found:
        typer.echo("no parcels")
    else:
        Console().print(_table(found))


@app.command()
def show(identifier: Identifier, as_json: AsJson = False, api: ApiUrl = DEFAULT_API) -> None:
    """Show a parcel and its deliveries."""
    with Api(api) as config_api:
        found = config_api.call("GET", _path(identifier)).json()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    console = Console()
    console.print(escape(f"{found['id']} {found['state']} {found['reason']}"))
    for name in _FIELDS:
        console.print(f"  {name}: {escape(found[name])}")
    console.print(f"  trace: {escape(found['trace_id'])}")
    console.print(f"  instances: {found['instances']}, {found['bytes'] / 1e6:.1f} MB")
    for each in found["deliveries"]:
        console.print(escape(f"  to {each['target']}: {each['state']} {each['reason']}"))


@app.command()
def send(
    identifier: Identifier,
    to: Annotated[str, typer.Option("--to", help="Name of the target.")],
    instance: Annotated[
        list[int] | None, typer.Option(help="Number of an instance; repeat it. Else all.")
    ] = None,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Send a parcel to a target, again where it was sent there before.

    It must still be in the spool, where delivered parcels stay for CROSSDOCK_RETENTION_HOURS.
    """
    body = {"target": to, "instances": instance or None}
    with Api(api) as config_api:
        done = config_api.call("POST", f"{_path(identifier)}/send", body).json()
    typer.echo(done["detail"] or f"it is sent to {to}")


def _path(identifier: str) -> str:
    return f"parcels/{quote(identifier, safe='')}"


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("parcel", no_wrap=True)
    for column in ("state", "instances", "from", "study", "received (UTC)", "reason"):
        table.add_column(column, overflow="fold")
    for item in found:
        table.add_row(
            item["id"],
            item["state"],
            str(item["instances"]),
            escape(f"{item['calling_ae_title']} {item['address']}"),
            escape(item["study_instance_uid"]),
            moment(item["received_at"]),
            escape(item["reason"]),
        )
    return table
