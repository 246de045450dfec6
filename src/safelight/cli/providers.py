"""`safelight providers`: the accounts at vendors, what they offer and whether they work."""

from __future__ import annotations

from typing import Annotated

import typer

from safelight.cli.complaint import exit_code
from safelight.cli.jobs import AsJson

providers = typer.Typer(help="Look at the configured providers, and check them.", no_args_is_help=True)


@providers.command("list")
def list_providers(as_json: AsJson = False) -> None:
    """Each provider with its models, their prices and its gates. No vendor is asked."""
    from safelight.cli.provider_list import list_providers as run_list

    raise typer.Exit(run_list(as_json=as_json))


@providers.command()
def check(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this provider.")] = None,
    paid: Annotated[bool, typer.Option("--paid", help="Buy one picture, after its price was agreed to.")] = False,
    model: Annotated[str | None, typer.Option(help="Instead of the provider's default model.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending money.")] = False,
    as_json: AsJson = False,
) -> None:
    """Can each provider be reached, is its key taken, can its model be bought?

    Costs nothing without --paid; what that buys is in no job and in no books of Safelight's. Exit code: 1 when there is
    a problem, else 0.
    """
    from safelight.cli.provider_check import check as run_check

    raise typer.Exit(exit_code(lambda: run_check(name, paid=paid, model=model, yes=yes, as_json=as_json)))
