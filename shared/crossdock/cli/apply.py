"""``crossdock apply`` and ``crossdock export``: the whole configuration as a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from crossdock.cli.client import DEFAULT_API, Api, ApiUrl, Refused, fail
from crossdock.cli.document import Document, DocumentError, dump


_MARKS = {"added": "+", "removed": "-", "changed": "~", "moved": "~"}
_NOUNS = {"store_nodes": "store node", "targets": "target", "rules": "rule"}


def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="gateway.yaml, or - for stdin.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    waiting: Annotated[
        str | None,
        typer.Option(
            help="What becomes of unfinished deliveries of targets that are taken away: drain (the "
            "target is removed when they are done), move:OTHER or discard."
        ),
    ] = None,
    api: ApiUrl = DEFAULT_API,
) -> None:
    """Make the gateway's configuration what a file says, and print what changed.

    It ends when all services that run work by it.
    """
    document = read_document(file)
    with Api(api) as config_api:
        try:
            answer = _put(config_api, document.data, dry_run=dry_run, waiting=waiting)
        except Refused as refused:
            _explain(document, refused)
        _show(answer)
        if not dry_run:
            config_api.await_taken()


def _put(api: Api, document: Any, **query: Any) -> dict[str, Any]:
    """Put the configuration; go on for as long as deliveries are moved or given up."""
    answer: dict[str, Any] = api.call("PUT", "gateway", document, **query).json()
    changes, left = answer["changes"], sum(answer["draining"].values())
    ends = query["waiting"] not in (None, "drain") and not query["dry_run"]
    while ends and left:
        typer.echo(f"{left} deliveries are left", err=True)
        answer = api.call("PUT", "gateway", document, **query).json()
        before, left = left, sum(answer["draining"].values())
        changes = changes + [each for each in answer["changes"] if each not in changes]
        if left >= before:
            break
    return {**answer, "changes": changes}


def export(api: ApiUrl = DEFAULT_API) -> None:
    """Print the gateway's configuration as YAML that ``apply`` takes."""
    with Api(api) as config_api:
        typer.echo(dump(config_api.call("GET", "gateway").json()), nl=False)


def read_document(file: Path) -> Document:
    """Read a gateway.yaml; what is wrong with it ends the command."""
    try:
        document = Document(None if str(file) == "-" else file)
    except DocumentError as error:
        fail(str(error))
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        fail(f"{document.name}: write store_nodes, targets and rules at the top level")
    document.data = {key: value for key, value in document.data.items() if value is not None}
    return document


def _explain(document: Document, refused: Refused) -> None:
    """Print the refusal with the lines of the file, and end the command."""
    if not refused.errors:
        fail(f"{document.name}: {refused.detail}" if refused.status < 500 else refused.detail)  # noqa: PLR2004 — the server's fault
    name_fields(document, refused.errors)


def name_fields(document: Document, problems: Iterable[tuple[str, str]]) -> NoReturn:
    """Print what is wrong with each field, with its line, and end the command."""
    for field, message in problems:
        line = document.line(field)
        typer.echo(f"{document.name}{f':{line}' if line else ''}: {field}: {message}", err=True)
    raise typer.Exit(1)


def _show(answer: dict[str, Any]) -> None:
    for change in answer["changes"]:
        fields = f" ({', '.join(change['fields'])})" if change["fields"] else ""
        moved = " (another place in the order)" if change["change"] == "moved" else ""
        noun = _NOUNS.get(change["kind"], change["kind"])
        typer.echo(f"{_MARKS[change['change']]} {noun} {change['name']}{fields}{moved}")
    if not answer["changes"]:
        typer.echo(f"no change: revision {answer['revision']} stays in force")
    elif answer["dry_run"]:
        typer.echo("dry run: nothing was changed")
    else:
        typer.echo(f"revision {answer['revision']} is in force")
    for name, count in answer["draining"].items():
        noun = "delivery" if count == 1 else "deliveries"
        typer.echo(f"target {name} has {count} unfinished {noun}: removed when they are done")
