"""The ``crossdock`` command, put together."""

import typer

from crossdock import __version__
from crossdock.cli import (
    apply,
    check,
    conformance,
    deliveries,
    parcels,
    secrets,
    send,
    services,
    spool,
    targets,
    up,
)


app = typer.Typer(
    name="crossdock",
    help="A DICOM gateway: every study reaches every place that should have it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crossdock {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version_wanted: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Take the options that come before a subcommand."""


app.command()(up.up)
app.command()(send.send)
app.command()(apply.apply)
app.command()(apply.export)
app.command()(check.check)
app.add_typer(targets.app, name="targets")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(parcels.app, name="parcels")
app.add_typer(spool.app, name="spool")
app.add_typer(secrets.app, name="secrets")
app.command()(conformance.conformance)
services.register(app)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
