"""`safelight queue`: the backlog as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import typer

from safelight.cli.jobs import AsJson, Url, print_json, run_with_client

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.client import SafelightClient

queue = typer.Typer(help="Look at the backlog, and pause or resume buying.", no_args_is_help=True)


@queue.command()
def show(as_json: AsJson = False, url: Url = None) -> None:
    """How much waits, and whether buying is paused."""
    _queue(None, as_json=as_json, url=url)


@queue.command()
def pause(as_json: AsJson = False, url: Url = None) -> None:
    """Buy nothing until resumed; what is bought already is finished."""
    _queue("pause", as_json=as_json, url=url)


@queue.command()
def resume(as_json: AsJson = False, url: Url = None) -> None:
    """Buy again."""
    _queue("resume", as_json=as_json, url=url)


def _queue(change: Literal["pause", "resume"] | None, *, as_json: bool, url: str | None) -> None:
    async def command(client: SafelightClient, console: Console) -> int:
        found = await client.queue(change)
        if as_json:
            print_json(found)
        else:
            state = f"paused since {found['paused_since']}: {found['pause_reason']}" if found["paused"] else "running"
            console.print(f"{state} · {found['queued']} queued · {found['active']} active", soft_wrap=True)
        return 0

    run_with_client(command, url)
