"""`safelight jobs`: a client of the API at the configured address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.client import JobView, SafelightClient

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, `job_…`.")]


def _address(url: str | None) -> str | None:
    from safelight.settings import require_web_address

    try:
        if url:
            require_web_address(url)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return url


Url = Annotated[
    str | None,
    typer.Option(callback=_address, help="Address of the API; default: SAFELIGHT_URL or http://127.0.0.1:8420."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Images = Annotated[list[str] | None, typer.Option("--image", help="Only this image; may be repeated.")]

jobs = typer.Typer(help="Look at jobs, and cancel, retry or download them.", no_args_is_help=True)


@jobs.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most this many.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on after an earlier page.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """The newest jobs."""

    async def command(client: SafelightClient, console: Console) -> int:
        page = await client.jobs(status=status, limit=limit, cursor=cursor)
        if as_json:
            print_json(page)
            return 0
        console.print(_history(page["jobs"]))
        if following := page.get("next_cursor"):
            console.print(f"older ones: --cursor {following}", soft_wrap=True)
        return 0

    run_with_client(command, url)


@jobs.command("show")
def show(job_id: JobId, as_json: AsJson = False, url: Url = None) -> None:
    """One job and its images."""

    async def command(client: SafelightClient, console: Console) -> int:
        job = await client.job(job_id)
        if as_json:
            print_json(job.document)
        else:
            _print_job(console, job)
        return 0

    run_with_client(command, url)


@jobs.command("watch")
def watch(job_id: JobId, url: Url = None) -> None:
    """Live bars until the job has ended. Exit code: 0 complete, 3 partial, 1 failed."""

    async def command(client: SafelightClient, console: Console) -> int:
        from safelight.cli.bars import open_view
        from safelight.cli.generate import exit_code, follow, summary

        with open_view(console) as view:
            job = await follow(client, job_id, view=view)
        console.print(summary(job), soft_wrap=True)
        return exit_code(job)

    run_with_client(command, url)


@jobs.command("cancel")
def cancel(
    job_id: JobId,
    image: Images = None,
    abort: Annotated[
        bool,
        typer.Option("--abort", help="Close open calls too: their outcome stays unknown and may be billed."),
    ] = False,
    url: Url = None,
) -> None:
    """End a job.

    What is queued ends now; calls that were sent wind down, and their pictures are kept for a retry.
    """

    async def command(client: SafelightClient, console: Console) -> int:
        job = await client.cancel(job_id, mode="abort" if abort else "finish", images=image)
        console.print(f"{job.id} {job.status.value}: {job.current_step}", soft_wrap=True)
        return 0

    run_with_client(command, url)


@jobs.command("retry")
def retry(
    job_id: JobId,
    only: Annotated[
        list[str] | None,
        typer.Option(help="failed, refused, uncertain or canceled; may be repeated. Default: all."),
    ] = None,
    image: Images = None,
    url: Url = None,
) -> None:
    """Try again for the images without a picture."""

    async def command(client: SafelightClient, console: Console) -> int:
        job = await client.retry(job_id, only=only, images=image)
        console.print(f"{job.id} {job.status.value}, run {job.run}: {job.current_step}", soft_wrap=True)
        return 0

    run_with_client(command, url)


@jobs.command("download")
def download(
    job_id: JobId,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Pictures go to DIR/{group}/{id}.{ext}.")
    ],
    as_zip: Annotated[bool, typer.Option("--zip", help="One file instead, DIR/{job}.zip, with a manifest.")] = False,
    url: Url = None,
) -> None:
    """Fetch the pictures there are. Exit code: 0 all, 3 some, 1 none."""

    async def command(client: SafelightClient, console: Console) -> int:
        from safelight.client import Album

        job = await client.job(job_id)
        found, total = len(job.completed), len(job.images)
        place = output
        if as_zip and found:
            place = output / f"{job.id}.zip"
            await client.archive(job.id, place.absolute())
        else:
            await Album(client=client, folder=output.absolute()).save_new(job)
        console.print(f"{found}/{total} pictures in {place}", soft_wrap=True)
        return 0 if found == total else 3 if found else 1

    run_with_client(command, url)


def run_with_client(command: Callable[[SafelightClient, Console], Awaitable[int]], url: str | None) -> None:
    from rich.console import Console

    from safelight.cli.complaint import read_settings
    from safelight.cli.running import run
    from safelight.client import SafelightClient

    async def connected() -> int:
        settings = read_settings()
        async with SafelightClient(url or settings.url, api_key=settings.own_key()) as client:
            return await command(client, Console(markup=False, highlight=False))

    try:
        code = run(connected())
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


def _history(rows: list[Mapping[str, Any]]) -> Any:
    from safelight.cli.tables import table

    history = table("job", "status", "run", "images", "created", whole=("job",))
    for row in rows:
        counts = row["counts"]
        history.add_row(
            row["id"],
            row["status"],
            str(row["run"]),
            f"{counts['completed']}/{counts['total']}",
            f"{row['created_at'][:19]}Z",
        )
    return history


def _print_job(console: Console, job: JobView) -> None:
    from safelight.cli.tables import table

    cost = f" · ${job.actual_usd}" if job.actual_usd is not None else ""
    console.print(f"{job.id} · {job.status.value} · run {job.run} · {job.current_step}{cost}", soft_wrap=True)
    images = table("group", "image", "status", "attempts", "cost", "why", whole=("image", "cost"))
    for image in job.images:
        cost_usd = f"${image.cost_usd}" if image.cost_usd is not None else ""
        images.add_row(image.group, image.id, image.status.value, str(image.attempt_count), cost_usd, image.error or "")
    console.print(images)


def print_json(value: Mapping[str, Any]) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
