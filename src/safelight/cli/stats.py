"""`safelight stats`: what has become of jobs over a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from safelight.cli.jobs import print_json, run_with_client
from safelight.cli.tables import table
from safelight.client import SafelightClient


def stats(*, as_json: bool, url: str | None, **asked: str | None) -> None:
    async def command(client: SafelightClient, console: Console) -> int:
        told = await client.stats(**asked)
        if as_json:
            print_json(told)
            return 0
        whose = told["account"] or "all accounts"
        console.print(f"{whose}, jobs of {told['from'][:19]} to {told['to'][:19]} UTC", style="bold", soft_wrap=True)
        console.print(_figures(told))
        popular = ", ".join(
            f"{each['provider']}/{each['model']} {each['images']}" for each in told["popular"]["models"]
        )
        if popular:
            console.print(f"models: {popular}", soft_wrap=True)
        return 0

    run_with_client(command, url)


def _figures(told: Mapping[str, Any]) -> Table:
    columns = ("jobs", "images", "completed", "failed", "refused", "success", "wait p50", "total p50", "p90", "cost")
    figures = table(told["group_by"] or "", *columns, whole=[each for each in columns if " " not in each])
    figures.collapse_padding = True
    for column in figures.columns[1:]:
        column.justify = "right"
        column.overflow = "fold"
    for group in told["groups"]:
        figures.add_row("none" if group["key"] is None else group["key"], *_cells(group))
    figures.add_row("all", *_cells(told["total"]))
    return figures


def _cells(figures: Mapping[str, Any]) -> list[str]:
    images, rate = figures["images"], figures["success_rate"]
    return [
        str(figures["jobs"]["total"]),
        *(str(images[name]) for name in ("total", "completed", "failed", "refused")),
        f"{rate:.1%}" if rate is not None else "",
        _seconds(figures["queue_wait_seconds"], "p50"),
        _seconds(figures["total_seconds"], "p50"),
        _seconds(figures["total_seconds"], "p90"),
        f"${figures['cost']['actual_usd']}",
    ]


def _seconds(of: Mapping[str, float] | None, share: str) -> str:
    return f"{of[share]:.1f} s" if of is not None else ""
