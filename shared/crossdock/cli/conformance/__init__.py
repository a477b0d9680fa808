"""``crossdock conformance``: the DICOM conformance statement (PS3.2), made from the code."""

import importlib

import typer


def conformance() -> None:
    """Print the DICOM conformance statement of this version, as Markdown."""
    statement = importlib.import_module("crossdock.cli.conformance.statement").statement
    typer.echo(statement(), nl=False)
