"""`safelight generate`: a file with a job in it becomes pictures in a folder, however often it takes."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from rich.console import Console

from safelight.cli.bars import View, open_view
from safelight.cli.children import free_port, running, until_ready
from safelight.cli.complaint import Complaint, read_settings
from safelight.cli.job_file import JobFile, read_job_file
from safelight.cli.job_pictures import with_uploads
from safelight.cli.running import run
from safelight.client import Album, ApiProblem, JobView, SafelightClient
from safelight.domain.fingerprint import fingerprint
from safelight.domain.lifecycle import JobStatus
from safelight.settings import Settings, child_environment

PARTIAL, FAILED, INTERRUPTED = 3, 1, 130
"""Exit codes; 0 is a complete job."""

_FAULTS_SHOWN = 3


def generate(source: Path, *, folder: Path, url: str | None) -> int:
    """The exit code: 0 complete, 3 partial, 1 failed, 130 interrupted, which leaves the job running."""
    job_file = read_job_file(source)
    settings = read_settings()
    try:
        return run(_generate(job_file, folder=folder.absolute(), url=url, settings=settings))
    except KeyboardInterrupt:
        Console(stderr=True, markup=False, highlight=False).print(
            f"stopped watching; run the same command again to go on: pictures already in {folder} are kept, "
            "and what was paid for is not bought again",
            soft_wrap=True,
        )
        return INTERRUPTED


def exit_code(job: JobView) -> int:
    if job.status is JobStatus.COMPLETED:
        return 0
    return PARTIAL if job.completed else FAILED


async def follow(client: SafelightClient, job_id: str, *, view: View, album: Album | None = None) -> JobView:
    """The job once it has ended, shown all the while, its pictures saved as they come."""
    async for job in client.watch(job_id):
        if album is not None:
            await album.save_new(job)
        view.show(job)  # what is said to be completed is in its file
        if job.has_ended:
            return job
    raise AssertionError("a watch ends with a job that has ended")


def refuse(problem: ApiProblem, job_file: JobFile) -> NoReturn:
    """Raises the problem, or a Complaint that names the lines of the file which it is about, where they are known."""
    if not (job_file.lines and problem.errors):
        raise problem
    places = [f"{job_file.place_of(each)}: {each.detail}" for each in problem.errors[:_FAULTS_SHOWN]]
    raise Complaint(" ".join([problem.detail, *places])) from problem


def summary(job: JobView) -> str:
    """`13/14 completed · job_… · $0.441`"""
    cost = f" · ${job.actual_usd}" if job.actual_usd is not None else ""
    return f"{len(job.completed)}/{len(job.images)} completed · {job.id}{cost}"


async def _generate(job_file: JobFile, *, folder: Path, url: str | None, settings: Settings) -> int:
    console = Console(markup=False, highlight=False)
    async with _service(url, settings, console) as client:
        job_file = await with_uploads(client, job_file)
        job = await _submitted(client, job_file, key=_idempotency_key(job_file.body, folder))
        console.print(f"{job.id} · {client.base_url}/v1/jobs/{job.id}", soft_wrap=True)
        with open_view(console) as view:
            job = await follow(client, job.id, view=view, album=Album(client=client, folder=folder))
    console.print(f"{summary(job)} · {folder}", soft_wrap=True)
    return exit_code(job)


async def _submitted(client: SafelightClient, job_file: JobFile, *, key: str) -> JobView:
    """A job that is live or complete: one that ended short of that in an earlier run is retried.

    Raises Complaint that names the lines of the file which the service refuses, where they are known.
    """
    try:
        submitted = await client.submit(job_file.body, idempotency_key=key)
    except ApiProblem as problem:
        refuse(problem, job_file)
    job = submitted.job
    if not submitted.replayed:
        return job
    if job.status is JobStatus.CANCELING:
        job = await client.wait(job.id)
    if job.has_ended and job.status is not JobStatus.COMPLETED:
        try:
            return await client.retry(job.id)
        except ApiProblem as problem:
            if problem.slug != "nothing-to-retry":
                raise
    return job


def _idempotency_key(body: dict[str, Any], folder: Path) -> str:
    return f"generate-{fingerprint({'body': body, 'folder': str(folder)})}"


@asynccontextmanager
async def _service(url: str | None, settings: Settings, console: Console) -> AsyncIterator[SafelightClient]:
    """A client of the service at `url`, or at the configured address.

    When nothing answers at a configured address of this machine, of a private service that stops at the end.
    """
    async with SafelightClient(url or settings.url, api_key=settings.own_key()) as client:
        if url is not None or await client.is_up() or not _is_here(settings.url):
            yield client
            return
    bind = f"127.0.0.1:{free_port()}"
    # An own database server in the same home is shared with whatever else runs on it.
    environment = child_environment({"home": settings.home, "bind": bind, "public_url": None})
    log_path = settings.home / "logs" / "generate.log"
    console.print(f"nothing answers at {settings.url}: starting a private service")
    # Calls that were sent are paid for: the private service may take as long as they do to stop.
    async with running(
        "serve", "serve", log_path=log_path, environment=environment, stop_seconds=settings.drain_seconds + 10
    ) as child:
        await until_ready(child, f"http://{bind}/readyz")
        async with SafelightClient(f"http://{bind}", api_key=settings.own_key()) as client:
            yield client


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
