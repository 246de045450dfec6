"""`safelight recipes`: what a job may be made of by naming subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from safelight.cli.jobs import AsJson, Url, print_json, run_with_client

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.client import SafelightClient

recipes = typer.Typer(help="Look at the recipes that jobs can be made by.", no_args_is_help=True)


@recipes.command("list")
def list_recipes(as_json: AsJson = False, url: Url = None) -> None:
    """Every recipe, with its groups in order of work."""

    async def command(client: SafelightClient, console: Console) -> int:
        found = (await client.call("GET", "/v1/recipes", may_repeat=True)).json()
        if as_json:
            print_json(found)
            return 0
        from safelight.cli.tables import table

        listed = table("recipe", "groups", "description", whole=("recipe",))
        for recipe in found["recipes"]:
            groups = ", ".join(group["name"] for group in recipe["groups"])
            listed.add_row(recipe["name"], groups, recipe["description"])
        console.print(listed)
        return 0

    run_with_client(command, url)


@recipes.command("show")
def show_recipe(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe's name.")],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """One recipe: what its subjects need, its prompts, and a job to begin with."""

    async def command(client: SafelightClient, console: Console) -> int:
        path = f"/v1/recipes/{quote(name, safe='')}"
        recipe = (await client.call("GET", path, may_repeat=True)).json()
        if as_json:
            print_json(recipe)
        else:
            _print(console, recipe)
        return 0

    run_with_client(command, url)


def _print(console: Console, recipe: dict[str, Any]) -> None:
    import json

    console.print(f"{recipe['name']} · {recipe['description']}", style="bold", soft_wrap=True)
    for group in recipe["groups"]:
        needs = ", ".join(["id", *group["required_fields"]])
        may = f"; may have {', '.join(group['optional_fields'])}" if group["optional_fields"] else ""
        console.print(f"\n{group['name']} · each needs {needs}{may}", style="bold", soft_wrap=True)
        for option, value in group["defaults"].items():
            console.print(f"  {option} = {value}", style="dim", soft_wrap=True)
        console.print(group["prompt"], soft_wrap=True)
    console.print("\na job to begin with", style="bold")
    example = {"recipe": recipe["name"], "subjects": recipe["example"]}
    console.print(json.dumps(example, indent=2, ensure_ascii=False), soft_wrap=True)
