"""Requests on many deliveries: config-api does some of them at a time, and we go on until all are."""

from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress

from crossdock.cli.client import FAILED, Api, Refused


_SHOWN = 20


def matching(api: Api, what: str, chosen: dict[str, Any]) -> int:
    """Return how many deliveries are meant, and say so."""
    answer = api.call("POST", f"deliveries/{what}", chosen, dry_run=True).json()
    count: int = answer["matched"]
    typer.echo(f"{count} {'delivery fits' if count == 1 else 'deliveries fit'}")
    return count


def carry_out(api: Api, what: str, chosen: dict[str, Any], count: int) -> None:
    """Do it to all of them, with progress on a terminal; exit code 1 if it did not work with some."""
    done, after, refused = 0, None, []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=count)
        while True:
            try:
                answer = api.call("POST", f"deliveries/{what}", chosen, after=after).json()
            except Refused:
                typer.echo(f"done before it stopped: {done}", err=True)
                raise
            done, after = done + answer["done"], answer["next"]
            refused += answer["refused"]
            progress.update(task, advance=answer["matched"])
            if after is None:
                break
    typer.echo(f"done: {done}")
    for each in refused[:_SHOWN]:
        typer.echo(f"  {each['delivery']}: {each['reason']}", err=True)
    if len(refused) > _SHOWN:
        typer.echo(f"  … and {len(refused) - _SHOWN} more", err=True)
    if refused:
        raise typer.Exit(FAILED)
