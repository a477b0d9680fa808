"""``crossdock spool``: look into the spool of this machine, verify it, reconcile it with queues."""

import json
import shutil
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from crossdock.bus import connect
from crossdock.cli.services import settings_or_exit
from crossdock.config.client import read_copy
from crossdock.config.snapshot import usable_gateway
from crossdock.errors import BusError, SpoolError
from crossdock.settings import Settings
from crossdock.spool import Problem, Spool, StoredParcel, Verified, places, verify
from crossdock.telemetry import configure_logging
from receiver.reconcile import Reconciler
from receiver.retelling import retell
from receiver.retention import Retention


app = typer.Typer(help="Look into the spool of this machine.", no_args_is_help=True)

_FOLLOWERS = ("router", "dispatcher", "receiver")
"""Services that keep a copy of the configuration, in the order in which it is asked for."""


@app.command("list")
def list_(
    all_: Annotated[
        bool, typer.Option("--all", help="Retired parcels too: delivered, kept for their time.")
    ] = False,
) -> None:
    """List what is in the spool: parcels, where they stand, what holds them, and how much it is."""
    settings = settings_or_exit()
    spool = Spool(settings.spool)
    table = Table()
    for column in ("parcel", "state", "instances", "MB", "pending", "held", "done", "note"):
        table.add_column(column, overflow="fold", no_wrap=column == "parcel")
    try:
        rows = list(_rows(spool, with_retired=all_))
        totals = [*_totals(spool, rows, with_retired=all_), _room(settings)]
    except FileNotFoundError:
        raise _no_spool(spool) from None
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table if rows else "The spool is empty: nothing waits and nothing is held.")
    for line in totals:
        typer.echo(line)


def _no_spool(spool: Spool) -> typer.Exit:
    typer.echo(f"There is no spool at {spool.root}; set CROSSDOCK_DATA.", err=True)
    return typer.Exit(1)


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


def _totals(spool: Spool, rows: list[tuple[str, ...]], *, with_retired: bool) -> Iterator[str]:
    for state in ("open", "received", "routed", "held", "retired", "damaged"):
        of_state = [row for row in rows if row[1] == state]
        if of_state:
            instances = sum(int(row[2] or 0) for row in of_state)
            size = sum(float(row[3] or 0) for row in of_state)
            yield f"{state}: parcels {len(of_state)}, instances {instances}, {size:.1f} MB"
    if not with_retired:
        yield f"retired: parcels {sum(1 for _ in spool.all_retired())} (--all shows them)"


def _room(settings: Settings) -> str:
    usage = shutil.disk_usage(settings.spool)
    marks = settings.marks(usage.total)
    return (
        f"free: {usage.free / 1e6:.1f} MB of {usage.total / 1e6:.1f} MB; retired parcels are "
        f"deleted early below {marks.low_water / 1e6:.1f} MB (low-water mark), and senders "
        f"refused below {marks.high_water / 1e6:.1f} MB (high-water mark)"
    )


@app.command("verify")
def verify_(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look at every parcel, instance and marker, and say what is wrong and what to do about it.

    Nothing is changed, and the gateway may be running. The exit code is 1 if anything is wrong.
    Files are looked for, measured, and their heads read; their contents are not compared.
    """
    settings = settings_or_exit()
    configure_logging(settings.log_level, "spool")
    spool = Spool(settings.spool)
    targets = _configured_targets(settings)
    console = Console(stderr=True)
    try:
        found = list(
            track(
                verify(spool, targets),
                "verifying",
                total=places(spool),
                console=console,
                transient=True,
                disable=not console.is_terminal,
            )
        )
    except FileNotFoundError:
        raise _no_spool(spool) from None
    problems = [problem for each in found for problem in each.problems]
    if as_json:
        typer.echo(json.dumps(_as_json(spool, found, problems), indent=2))
    else:
        _show(found, problems, judged=targets is not None)
    if problems:
        raise typer.Exit(1)


def _configured_targets(settings: Settings) -> set[str] | None:
    """Return the names of the targets by the copy that a service keeps here, None without one."""
    for service in _FOLLOWERS:
        published = read_copy(settings.data / "config" / f"{service}.json")
        if published is not None and published.document is not None:
            return {target.name for target in usable_gateway(published.document).targets}
    return None


def _as_json(spool: Spool, found: list[Verified], problems: list[Problem]) -> dict[str, object]:
    return {
        "spool": str(spool.root),
        "parcels": sum(each.parcels for each in found),
        "instances": sum(each.instances for each in found),
        "bytes": sum(each.size for each in found),
        "problems": [problem.model_dump() for problem in problems],
    }


def _show(found: list[Verified], problems: list[Problem], *, judged: bool) -> None:
    for problem in problems:
        typer.echo(f"{problem.where}: {problem.problem}\n    {problem.advice}")
    parcels = sum(each.parcels for each in found)
    instances = sum(each.instances for each in found)
    size = sum(each.size for each in found) / 1e6
    said = f"{len(problems)} problems" if problems else "all is well"
    typer.echo(f"parcels: {parcels}, instances: {instances}, {size:.1f} MB: {said}")
    if not judged:
        typer.echo("no service keeps a configuration here: targets of markers were not judged")


@app.command()
def reconcile(
    *,
    ledger: Annotated[
        bool,
        typer.Option(
            "--ledger",
            help="Also tell the ledger of all that is in the spool, after its database was lost.",
        ),
    ] = False,
) -> None:
    """Schedule again what waits in the spool and is in no queue; the router does so by itself.

    Retired parcels that are not to be kept any longer are deleted, as the router does, too.
    """
    settings = settings_or_exit()
    spool = Spool(settings.spool)
    configure_logging(settings.log_level, "spool")
    try:
        with connect(settings.broker, name="spool") as bus:
            Reconciler(spool, bus).run(grace=0.0)
            told = retell(spool, bus) if ledger else None
        Retention(spool, settings).run()
    except (BusError, OSError) as error:
        typer.echo(f"crossdock: {error}", err=True)
        raise typer.Exit(1) from None
    if told is not None:
        typer.echo(f"the ledger was told of {told} parcels, and of their deliveries")
