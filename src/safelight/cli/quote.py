"""`safelight quote`: what a job file would cost and how long it may take, before anything is bought."""

from __future__ import annotations

from math import ceil
from pathlib import Path

from rich.console import Console

from safelight.cli.generate import refuse
from safelight.cli.job_file import read_job_file
from safelight.cli.job_pictures import with_uploads
from safelight.cli.jobs import print_json, run_with_client
from safelight.client import ApiProblem, Quote, SafelightClient

UNAFFORDABLE = 1


def quote(source: Path, *, as_json: bool, url: str | None) -> None:
    """Ends with exit code 0, or 1 when a submit would be refused."""
    job_file = read_job_file(source)

    async def command(client: SafelightClient, console: Console) -> int:
        complete = await with_uploads(client, job_file)
        try:
            told = await client.quote(complete.body)
        except ApiProblem as problem:
            refuse(problem, job_file)
        if as_json:
            print_json(told.document)
        else:
            for line in _lines(told):
                console.print(line, soft_wrap=True)
        return 0 if told.affordable else UNAFFORDABLE

    run_with_client(command, url)


def _lines(told: Quote) -> list[str]:
    number = f"{told.images} image{'s' if told.images != 1 else ''}"
    lines = [f"{number}: {_usd(told.likely_usd)} likely, {_usd(told.low_usd)} to {_usd(told.high_usd)}"]
    if told.balance_after is not None:
        lines.append(_charge(told))
    if told.p50_seconds is not None and told.p90_seconds is not None:
        lines.append(f"ready in about {ceil(told.p50_seconds)} seconds, perhaps {ceil(told.p90_seconds)}")
    if not told.affordable:
        lines.append("it would be refused:")
    return [*lines, *(f"- {note}" for note in told.notes)]


def _charge(told: Quote) -> str:
    held = told.document.get("credits_held")
    if held is not None:
        return f"{held} credits held, {told.balance_after} left"
    return f"${told.document['held_usd']} held, ${told.balance_after} left"


def _usd(amount: str | None) -> str:
    return f"${amount}" if amount is not None else "unknown"
