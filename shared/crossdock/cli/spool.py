"""``crossdock spool``: look into the spool of this machine, and reconcile it with the queues."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from crossdock.bus import connect
from crossdock.cli.services import settings_or_exit
from crossdock.errors import BusError, SpoolError
from crossdock.spool import Spool, StoredParcel
from crossdock.telemetry import configure_logging
from receiver.reconcile import Reconciler


app = typer.Typer(help="Look into the spool of this machine.", no_args_is_help=True)


@app.command("list")
def list_(
    all_: Annotated[
        bool, typer.Option("--all", help="Retired parcels too: delivered, kept for their time.")
    ] = False,
) -> None:
    """List what is in the spool: parcels, where they stand, and what holds them."""
    spool = Spool(settings_or_exit().spool)
    table = Table()
    for column in ("parcel", "state", "instances", "MB", "pending", "held", "done", "note"):
        table.add_column(column, overflow="fold", no_wrap=column == "parcel")
    try:
        rows = list(_rows(spool, with_retired=all_))
    except FileNotFoundError:
        typer.echo(f"There is no spool at {spool.root}; set CROSSDOCK_DATA.", err=True)
        raise typer.Exit(1) from None
    for row in rows:
        table.add_row(*row)
    Console().print(table if rows else "The spool is empty: nothing waits and nothing is held.")


def _rows(spool: Spool, *, with_retired: bool) -> Iterator[tuple[str, ...]]:
    for path in sorted(spool.opened.iterdir()):
        count = sum(1 for _ in path.glob("*.dcm"))
        yield path.name, "open", str(count), "", "", "", "", "still growing"
    for stored in spool.stored():
        yield _row(stored, "routed" if stored.routed else "received")
    for stored in spool.all_held():
        yield _row(stored, "held")
    if with_retired:
        for stored in spool.all_retired():
            yield _row(stored, "retired")


def _row(stored: StoredParcel, state: str) -> tuple[str, ...]:
    try:
        count, size = str(len(stored.parcel.instances)), f"{stored.parcel.size / 1e6:.1f}"
    except SpoolError as error:
        return stored.id, "damaged", "", "", "", "", "", str(error)
    deliveries = (", ".join(stored.targets(name)) for name in ("pending", "held", "done"))
    return stored.id, state, count, size, *deliveries, stored.note()


@app.command()
def reconcile() -> None:
    """Schedule again what waits in the spool and is in no queue; the router does so by itself."""
    settings = settings_or_exit()
    spool = Spool(settings.spool)
    configure_logging(settings.log_level, "spool")
    try:
        with connect(settings.broker, name="spool") as bus:
            Reconciler(spool, bus, settings.retention_seconds).run(grace=0.0)
    except (BusError, OSError) as error:
        typer.echo(f"crossdock: {error}", err=True)
        raise typer.Exit(1) from None
