"""``crossdock deliveries``: what was sent where, and what a person does about the rest."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crossdock.cli.client import DEFAULT_API, Api, ApiUrl, fail, moment
from crossdock.cli.many import carry_out, matching
from crossdock.model import Priority


app = typer.Typer(no_args_is_help=True, help="See, retry, move and discard deliveries.")

_PAGE = 500
_COLOURS = {"delivered": "green", "waiting": "yellow", "held": "red", "discarded": "dim"}

Identifier = Annotated[str, typer.Argument(help="PARCEL-TARGET, as `deliveries list` shows it.")]
OneOrFilter = Annotated[
    str | None, typer.Argument(help="PARCEL-TARGET of one, as `deliveries list` shows it.")
]
State = Annotated[str | None, typer.Option(help="Those that are waiting, or held.")]
Target = Annotated[str | None, typer.Option(help="Those to this target.")]
Study = Annotated[str | None, typer.Option(help="Those of this StudyInstanceUID.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")]


@app.command("list")
def index(  # noqa: PLR0917 — Typer passes by name
    state: Annotated[
        str | None, typer.Option(help="waiting, delivered, held or discarded.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Name of the target.")] = None,
    study: Annotated[str | None, typer.Option(help="StudyInstanceUID.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """List deliveries, newest first."""
    with Api(api) as config_api:
        found = _newest(config_api, limit, state=state, target=target, study=study)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show_list(found)


@app.command()
def show(
    identifier: Identifier,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Show a delivery with its attempts and the instances that are exceptional."""
    with Api(api) as config_api:
        found = config_api.call("GET", _path(identifier)).json()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show_one(found)


@app.command()
def retry(
    identifier: OneOrFilter = None,
    state: State = None,
    target: Target = None,
    study: Study = None,
    *,
    dry_run: DryRun = False,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Try a held or waiting delivery now, or all that fit: `retry --target archive`."""
    chosen = _chosen(identifier, state=state, target=target, study=study)
    with Api(api) as config_api:
        if chosen is None:
            done = config_api.call("POST", f"{_path(identifier or '')}/retry").json()
            typer.echo(done["detail"] or "it is tried again")
            return
        count = matching(config_api, "retry", chosen)
        if not dry_run:
            carry_out(config_api, "retry", chosen, count)


@app.command()
def discard(
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    identifier: OneOrFilter = None,
    state: State = None,
    target: Target = None,
    study: Study = None,
    *,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether all are meant.")] = False,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Give a held or waiting delivery up, or all that fit: `discard --target archive --reason …`."""
    chosen = _chosen(identifier, state=state, target=target, study=study)
    body = {**(chosen or {}), "reason": reason}
    with Api(api) as config_api:
        if chosen is None:
            done = config_api.call("POST", f"{_path(identifier or '')}/discard", body).json()
            typer.echo(done["detail"] or "discarded")
            return
        count = matching(config_api, "discard", body)
        if dry_run or not count:
            return
        if not yes:
            typer.confirm(f"Give {count} up for good?", abort=True)
        carry_out(config_api, "discard", body, count)


@app.command()
def move(
    identifier: Identifier,
    to: Annotated[str, typer.Option("--to", help="Name of the other target.")],
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Send what a held or waiting delivery misses to another target instead."""
    with Api(api) as config_api:
        done = config_api.call("POST", f"{_path(identifier)}/move", {"target": to}).json()
    typer.echo(done["detail"] or f"what was missing goes to {to}")


def _chosen(identifier: str | None, **criteria: str | None) -> dict[str, Any] | None:
    """Return the filter, None where one delivery is meant; anything else ends the command."""
    given = {name: value for name, value in criteria.items() if value is not None}
    if (identifier is None) == (not given):
        fail("name one delivery, or say which: --target, --state, --study", 2)
    return given or None


def _path(identifier: str) -> str:
    return f"deliveries/{quote(identifier, safe='')}"


def _newest(api: Api, limit: int, **filters: str | None) -> list[dict[str, Any]]:
    """Return up to ``limit`` deliveries, page by page."""
    found: list[dict[str, Any]] = []
    before: str | None = None
    while len(found) < limit:
        size = min(_PAGE, limit - len(found))
        answer = api.call("GET", "deliveries", limit=size, before=before, **filters).json()
        found += answer["items"]
        before = answer["next"]
        if before is None:
            break
    return found


def _show_list(found: list[dict[str, Any]]) -> None:
    console = Console()
    if not found:
        console.print("no deliveries")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("delivery", no_wrap=True)
    for column in ("state", "instances", "reason", "next try (UTC)"):
        table.add_column(column, overflow="fold")
    for item in found:
        table.add_row(
            escape(item["id"]),
            _state(item),
            f"{item['delivered'] + item['warnings']}/{item['instances']}",
            escape(item["reason"]),
            moment(item["next_try"]),
        )
    console.print(table)


def _show_one(found: dict[str, Any]) -> None:
    console = Console()
    console.print(f"{escape(found['id'])} {_coloured(found['state'])} {escape(found['reason'])}")
    for name in ("target", "protocol", "store_node", "study_instance_uid", "series_instance_uid"):
        console.print(f"  {name}: {escape(found[name])}")
    if found["instead_of"]:
        console.print(f"  as the fallback of: {escape(found['instead_of'])}")
    console.print(f"  priority: {escape(found['priority'])}")
    console.print(f"  trace: {escape(found['trace_id'])}")
    console.print(f"  rules: {escape(', '.join(found['rules']))} (revision {found['revision']})")
    console.print(
        f"  instances: {found['instances']}, delivered {found['delivered']}, "
        f"with warnings {found['warnings']}, missing {found['missing']}"
    )
    console.print(_history(found["history"]))
    for item in found["exceptions"]:
        words = " ".join(filter(None, (item["outcome"], item["status"], item["detail"])))
        console.print(f"  {escape(item['sop_instance_uid'])}: {escape(words)}")


def _history(attempts: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in (
        "attempt",
        "started (UTC)",
        "delivered",
        "refused",
        "not sent",
        "kind",
        "detail",
    ):
        table.add_column(column, overflow="fold")
    for item in attempts:
        numbers = (item["delivered"], item["refused"], item["not_sent"])
        table.add_row(
            str(item["attempt"]),
            moment(item["started_at"]),
            *map(str, numbers),
            item["kind"],
            escape(item["detail"]),
        )
    return table


def _state(item: dict[str, Any]) -> str:
    """Return the state, and the priority where it is not the usual one."""
    usual = item["priority"] == Priority.NORMAL
    return _coloured(item["state"]) + ("" if usual else f" {escape(item['priority'])}")


def _coloured(state: str) -> str:
    return f"[{_COLOURS.get(state, 'default')}]{escape(state)}[/]"
