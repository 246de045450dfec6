"""`safelight styles`: words that go around prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from safelight.cli.complaint import Complaint
from safelight.cli.jobs import AsJson, Url, print_json, run_with_client

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.client import SafelightClient

Name = Annotated[str, typer.Argument(metavar="STYLE", help="The style's name.")]

styles = typer.Typer(help="Look at styles, and set or remove your own.", no_args_is_help=True)


@styles.command("list")
def list_styles(as_json: AsJson = False, url: Url = None) -> None:
    """Every style that a job can name: those that come with Safelight, and your own."""

    async def command(client: SafelightClient, console: Console) -> int:
        found = (await client.call("GET", "/v1/styles", may_repeat=True)).json()
        if as_json:
            print_json(found)
            return 0
        from safelight.cli.tables import table

        listed = table("style", "", "description", whole=("style",))
        for style in found["styles"]:
            listed.add_row(style["name"], _whose(style), style["description"] or "")
        console.print(listed)
        return 0

    run_with_client(command, url)


@styles.command("show")
def show_style(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """The words of one style."""

    async def command(client: SafelightClient, console: Console) -> int:
        style = (await client.call("GET", _path(name), may_repeat=True)).json()
        if as_json:
            print_json(style)
            return 0
        console.print(f"{style['name']} · {_whose(style)}", style="bold", soft_wrap=True)
        for field in ("description", "prefix", "suffix", "negative_prompt"):
            if style[field] is not None:
                console.print(f"\n{field}", style="bold")
                console.print(style[field].strip(), soft_wrap=True)
        return 0

    run_with_client(command, url)


@styles.command("set")
def set_style(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="TOML or JSON: name, and any of description, prefix, suffix, negative_prompt.",
        ),
    ],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Make the style that a file describes, or replace all of its words. Jobs that were accepted stay as they are."""
    from safelight.cli.job_file import read_job_file

    if file.suffix.lower() == ".csv":
        raise Complaint(f"{file}: a style is written as TOML or JSON")
    words = dict(read_job_file(file).body)
    name = words.pop("name", None)
    if not isinstance(name, str) or not name:
        raise Complaint(f"{file}: the style has no `name`")

    async def command(client: SafelightClient, console: Console) -> int:
        style = (await client.call("PUT", _path(name), may_repeat=True, json=words)).json()
        if as_json:
            print_json(style)
        else:
            console.print(f"{style['name']} · {_whose(style)}", soft_wrap=True)
        return 0

    run_with_client(command, url)


@styles.command("remove")
def remove_style(name: Name, url: Url = None) -> None:
    """Remove a style of your own. One that comes with Safelight under the same name is there again."""

    async def command(client: SafelightClient, console: Console) -> int:
        await client.call("DELETE", _path(name))
        console.print(f"{name} is gone", soft_wrap=True)
        return 0

    run_with_client(command, url)


def _whose(style: dict[str, Any]) -> str:
    return "built in" if style["built_in"] else f"version {style['version']}"


def _path(name: str) -> str:
    return f"/v1/styles/{quote(name, safe='')}"
