"""``crossdock receiver | router | dispatcher | tester | config-api``: one service each.

A service is imported only when it is to run, so that each needs only its own libraries. As a
module of its own this file is the command line without the rest, which starts faster.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import typer

from crossdock.errors import CrossdockError
from crossdock.settings import MOST_WORKERS, Settings, from_environment


_PLAIN = {
    "router": ("receiver.router_main", "Evaluate the rules on parcels and schedule deliveries."),
    "tester": ("tester.__main__", "Check targets, by the clock and on demand."),
    "config-api": ("config_api.__main__", "Serve configuration, ledger and REST."),
}


def register(app: typer.Typer) -> None:
    """Add a command per service."""
    for name, (module, help_text) in _PLAIN.items():
        app.command(name, help=help_text)(_command(module))
    app.command()(receiver)
    app.command()(dispatcher)


def receiver(
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_WORKERS,
            help="Processes that receive side by side; 1 is none beside this one. "
            "[default: CROSSDOCK_RECEIVER_WORKERS, or the cores to use, at most 4]",
        ),
    ] = None,
) -> None:
    """Listen on the store nodes and take instances in."""
    if workers is not None:
        os.environ["CROSSDOCK_RECEIVER_WORKERS"] = str(workers)
    _run("receiver.__main__")


def dispatcher(
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="Serve targets of this protocol; repeatable, all if left out."),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(metavar="TARGET", help="Only check this target, from here; 0 if all is well."),
    ] = None,
) -> None:
    """Deliver parcels to targets."""
    known = sorted(importlib.import_module("crossdock.protocols").ADAPTERS)
    unknown = sorted(set(protocol or ()).difference(known))
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(unknown)}: the protocols are {', '.join(known)}", param_hint="--protocol"
        )
    if check is not None:
        _check(check, tuple(protocol or known))
    _run("dispatcher.__main__", tuple(protocol or known))


def _check(target: str, protocols: Sequence[str]) -> NoReturn:
    """Check a target as the dispatcher here sees it, print the stages, and end the command."""
    settings = settings_or_exit()
    try:
        checked = importlib.import_module("dispatcher.check").check(settings, protocols, target)
    except (CrossdockError, OSError) as error:
        typer.echo(f"crossdock: {error}", err=True)
        sys.exit(1)
    if checked.from_copy:
        words = f"config-api does not answer: by the copy of revision {checked.revision} here"
        typer.echo(words, err=True)
    stages = [stage.model_dump(mode="json") for stage in checked.report.stages]
    show = importlib.import_module("crossdock.cli.check").show
    show(target, green=checked.report.green, stages=stages)
    sys.exit(0 if checked.report.green else 1)


def _command(module: str) -> Callable[[], None]:
    def command() -> None:
        _run(module)

    return command


def _run(module: str, *arguments: object) -> NoReturn:
    settings = settings_or_exit()
    main: Callable[..., int] = importlib.import_module(module).main
    try:
        raise typer.Exit(main(settings, *arguments))
    except (CrossdockError, OSError) as error:
        typer.echo(f"crossdock: {error}", err=True)
        sys.exit(1)


def settings_or_exit() -> Settings:
    """Return the settings of the environment; what is wrong with them ends the command."""
    try:
        return from_environment()
    except ValueError as error:
        typer.echo(f"crossdock: {error}", err=True)
        sys.exit(2)


def main() -> None:
    """Run one service."""
    app = typer.Typer(name="crossdock", pretty_exceptions_enable=False)
    register(app)
    app()


if __name__ == "__main__":
    main()
