"""``crossdock secrets``: the seals of passwords, tokens and keys in the configuration."""

import typer

from crossdock.cli.client import DEFAULT_API, FAILED, Api, ApiUrl


app = typer.Typer(no_args_is_help=True, help="Change the key that secrets are sealed with.")


@app.callback()
def _secrets() -> None:
    """Have the subcommand named, though it is the only one."""


@app.command()
def reseal(api: ApiUrl = DEFAULT_API) -> None:
    """Seal all secrets with the first key of CROSSDOCK_SECRET_KEY; 1 if some cannot be opened."""
    with Api(api) as config_api:
        done = config_api.call("POST", "secrets/reseal").json()
    typer.echo(
        f"revision {done['revision']} is in force, its secrets sealed with the first key; "
        f"earlier revisions rewritten: {done['rewritten']}"
    )
    for lost in done["unopened"]:
        typer.echo(f"{lost}: a secret that no key opens; give it anew", err=True)
    if done["unopened"]:
        raise typer.Exit(FAILED)
