"""`safelight demo`: everything at once in a home of its own, then compared with the vendor's bill."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image, UnidentifiedImageError
from rich.console import Console

from safelight.cli.bars import View, open_view
from safelight.cli.cases import image_count, mystery_case
from safelight.cli.children import free_port, running, sole_user, until_ready
from safelight.cli.complaint import Complaint
from safelight.cli.demo_bill import Bill, Sandbox, bought_again, dollars, table_of
from safelight.cli.generate import INTERRUPTED, follow
from safelight.cli.running import run
from safelight.client import Album, JobView, SafelightClient
from safelight.db.embedded import EmbeddedServer
from safelight.domain.lifecycle import JobStatus
from safelight.domain.money import format_usd, microusd
from safelight.providers.models import load_models
from safelight.providers.provider import UnknownModel
from safelight.settings import environment_of_its_own, vendor_key

_MODEL = "gemini-3.1-flash-lite-image"
_CONCURRENCY = 6
_WORKERS = 2
_SLOTS = _CONCURRENCY // _WORKERS
_SIDE_PX = 512
_KILL_AFTER = 5
_STOP_SECONDS = 20.0
_LIVE_STOP_SECONDS = 200.0
_OTHER_RUN_SECONDS = 30.0

# With these a call lost with its worker is bought again within seconds; in production it takes minutes.
_CALL_SECONDS = 6
_GRACE_SECONDS = 1
_HASTE = {
    "slots": _SLOTS,
    "grace_seconds": _GRACE_SECONDS,
    "lease_seconds": 2,
    "sweep_seconds": 1,
    "retry_unit_seconds": 0.2,
}
Readiness = Callable[[], Awaitable[None]]

_OURS = ("blobs", "staging", "sandbox")


def demo(*, home: Path, folder: Path, kill_worker: bool, live: str | None) -> int:
    """Exit code 0 when every picture is there and the vendor's bill holds no call too many.

    `live` names the vendor's model to buy from. Whatever was started is stopped, also when interrupted.
    """
    if kill_worker and live is not None:
        raise Complaint("--kill-worker loses calls on purpose; it is for the sandbox, not for --live")
    console = Console(markup=False, highlight=False)
    plan = _Plan(
        home=home,
        folder=folder,
        bind=f"127.0.0.1:{free_port()}",
        sandbox=None if live else Sandbox(port=free_port()),
        model=live or _MODEL,
        kill_worker=kill_worker,
    )
    try:
        return run(_demo(plan, console))
    except KeyboardInterrupt:
        console.print("demo interrupted; what it started is stopped, and it can be run again", soft_wrap=True)
        return INTERRUPTED


def live_model(model: str | None, *, yes: bool) -> str:
    """The vendor's model, once the person has agreed to its price. Raises Complaint otherwise."""
    if model is None:
        raise Complaint("--live needs --model, for example `--model gemini-3.1-flash-lite-image`")
    if not vendor_key("GEMINI_API_KEY"):
        raise Complaint("--live needs the vendor's key in GEMINI_API_KEY")
    try:
        price = load_models("gemini").find(model).price
    except UnknownModel as error:
        raise Complaint(str(error)) from error
    if price is None or price.image_usd is None:
        raise Complaint(f"the vendor has switched `{model}` off; choose another --model")
    images = image_count(mystery_case())
    if not yes:
        total = dollars(images * microusd(price.image_usd))
        print(f"{images} pictures by {model} cost about {total} of real money.")
        if input("Buy them? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Complaint("nothing was bought")
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is run where; `sandbox` is None when the vendor is the real one."""

    home: Path
    folder: Path
    bind: str
    sandbox: Sandbox | None
    model: str
    kill_worker: bool

    @property
    def base_url(self) -> str:
        return f"http://{self.bind}"

    @property
    def body(self) -> dict[str, Any]:
        case = mystery_case()
        if self.kill_worker:
            case["defaults"] = case.get("defaults", {}) | {"timeout_seconds": _CALL_SECONDS}
        return case


async def _demo(plan: _Plan, console: Console) -> int:
    async with sole_user(plan.home / "run" / "demo.lock", patience_seconds=_OTHER_RUN_SECONDS) as lock:
        with _fresh_home(plan.home, console):
            console.print(f"starting the service and its vendor in {plan.home}", soft_wrap=True)
            async with _vendor(plan, lock) as vendor_ready, _service(plan, lock) as service_ready:
                await asyncio.gather(vendor_ready(), service_ready())
                job, bill = await _generated(plan, console)
    wrong = _wrong_pictures(plan.folder, job)
    if bill is not None and plan.kill_worker:
        _explain(job, bill, console)
    booked = f"booked ${job.actual_usd}"
    billed = f"vendor billed {dollars(bill.total_microusd)} for {bill.calls} calls" if bill else booked
    console.print(f"the pictures are in {plan.folder.resolve()}; the service has stopped", soft_wrap=True)
    share = f"{len(job.completed)}/{len(job.images)} completed"
    console.print(" · ".join((share, f"{plan.base_url}/v1/jobs/{job.id}", billed)), soft_wrap=True)
    for line in wrong:
        console.print(line, soft_wrap=True)
    as_promised = job.status is JobStatus.COMPLETED and not wrong
    return 0 if as_promised and (bill is None or _is_fair(bill, job, may_repeat=plan.kill_worker)) else 1


async def _generated(plan: _Plan, console: Console) -> tuple[JobView, Bill | None]:
    """The ended job, its pictures saved, and what the vendor charged for it."""
    async with SafelightClient(plan.base_url) as client:
        job = (await client.submit(plan.body, idempotency_key=f"demo-{uuid4().hex}")).job
        console.print(f"{plan.base_url}/v1/jobs/{job.id}", soft_wrap=True)
        album = Album(client=client, folder=plan.folder)
        with open_view(console) as view:
            beside = asyncio.create_task(_kill_worker(plan, client, job.id, view)) if plan.kill_worker else None
            job = await follow(client, job.id, view=view, album=album)
            if beside is not None:
                await beside
        return job, await plan.sandbox.bill() if plan.sandbox is not None else None


async def _kill_worker(plan: _Plan, client: SafelightClient, job_id: str, view: View) -> None:
    """After the fifth picture, one worker process is gone without a word, in the middle of its calls."""
    assert plan.sandbox is not None, "nobody kills workers whose calls cost real money"
    async for job in client.watch(job_id):
        if len(job.completed) >= _KILL_AFTER:
            break
    # As many calls as all workers' slots together: so every worker has some.
    in_flight = await plan.sandbox.in_flight(at_least=_CONCURRENCY, timeout_seconds=5)
    pid = int((plan.home / "run" / "worker-1.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    view.say(
        f"killed worker process {pid} (SIGKILL) after the fifth picture, "
        f"with at least {max(in_flight - _SLOTS, 0)} calls in flight, "
        "which may be billed; none is bought again before it can no longer answer, "
        f"{_CALL_SECONDS + _GRACE_SECONDS} s after it was sent"
    )


@asynccontextmanager
async def _vendor(plan: _Plan, lock: int) -> AsyncIterator[Readiness]:
    """A sandbox with an empty bill, unless the vendor is the real one; the value waits until it is ready."""
    if plan.sandbox is None:
        yield _at_once
        return
    bill = plan.home / "sandbox" / "bill.jsonl"
    bill.unlink(missing_ok=True)
    words = (
        "--port",
        str(plan.sandbox.port),
        "--latency",
        "p50=1.2,p95=2.5",
        "--seed",
        "7",
        "--bill",
        str(bill),
    )
    async with running(
        "sandbox",
        *("sandbox", *words),
        log_path=plan.home / "logs" / "sandbox.log",
        environment=environment_of_its_own({}),
        stop_seconds=_STOP_SECONDS,
        lock=lock,
    ) as child:
        yield partial(until_ready, child, f"{plan.sandbox.base_url}/bill")


@asynccontextmanager
async def _service(plan: _Plan, lock: int) -> AsyncIterator[Readiness]:
    """`safelight serve` in the demo's home, whatever this machine's own settings are."""
    sandbox = plan.sandbox
    settings: dict[str, Any] = {
        "home": plan.home,
        "bind": plan.bind,
        "workers": _WORKERS,
        "log_json": 1,
        "default_provider": "gemini",
        "providers__gemini__kind": "gemini",
        "providers__gemini__model": plan.model,
        "providers__gemini__max_concurrency": _CONCURRENCY,
        "providers__gemini__base_url": f"{sandbox.base_url}/gemini" if sandbox else None,
        "providers__gemini__api_key": "sandbox-key" if sandbox else vendor_key("GEMINI_API_KEY"),
    }
    async with running(
        "serve",
        "serve",
        log_path=plan.home / "logs" / "serve.log",
        environment=environment_of_its_own(settings | (_HASTE if plan.kill_worker else {})),
        stop_seconds=_STOP_SECONDS if sandbox else _LIVE_STOP_SECONDS,
        lock=lock,
    ) as child:
        yield partial(until_ready, child, f"{plan.base_url}/readyz")


async def _at_once() -> None:
    """The real vendor is there already."""


@contextmanager
def _fresh_home(home: Path, console: Console) -> Iterator[None]:
    """A home without unfinished jobs, which would be generated, and billed, along with the demo's own.

    One that an interrupted demo left is emptied; raises Complaint for a home that was never a demo's.
    """
    mark = home / "demo"
    state = mark.read_text() if mark.exists() else None
    if state is None and (home / "pg").exists():
        raise Complaint(f"`{home}` holds data of a real installation; use another --home")
    if state == "running":
        console.print("the last demo was interrupted: starting from an empty home", soft_wrap=True)
        EmbeddedServer(home).destroy()
        for name in _OURS:
            shutil.rmtree(home / name, ignore_errors=True)
    mark.write_text("running")
    yield
    mark.write_text("finished")


def _wrong_pictures(folder: Path, job: JobView) -> list[str]:
    """One line for each completed image whose file is no 512×512 JPEG, read from the files' headers."""
    wrong = []
    for image in job.completed:
        path = folder / image.group / f"{image.id}.jpg"
        try:
            with Image.open(path) as picture:
                if (picture.format, picture.size) != ("JPEG", (_SIDE_PX, _SIDE_PX)):
                    wrong.append(f"{path} is a {picture.format} of {picture.width}×{picture.height}")
        except (OSError, UnidentifiedImageError) as error:
            wrong.append(f"{path}: {error}")
    return wrong


def _is_fair(bill: Bill, job: JobView, *, may_repeat: bool) -> bool:
    """One call per picture; one more for each image whose call was lost with a worker, if one was killed."""
    again = bought_again(job) if may_repeat else ()
    once_more_at_most = all(image.attempt_count <= 2 for image in again) and len(again) <= _SLOTS
    return once_more_at_most and len(job.images) <= bill.calls <= len(job.images) + len(again)


def _explain(job: JobView, bill: Bill, console: Console) -> None:
    """The bill, and what became of each call whose outcome was lost with its worker."""
    console.print(table_of(bill))
    again = bought_again(job)
    if again:
        names = ", ".join(f"{image.group}/{image.id}" for image in again)
        console.print(
            f"{names}: their worker was killed between sending the call and its answer. Nobody could know "
            "whether such a call is billed, so it is booked as uncertain; once it could no longer answer, "
            "the picture was bought once more.",
            soft_wrap=True,
        )
    uncertain = f", at most ${job.uncertain_usd} uncertain" if job.uncertain_usd is not None else ""
    console.print(
        f"Safelight's book: ${job.actual_usd} known{uncertain}; the vendor's: ${format_usd(bill.total_microusd)}",
        soft_wrap=True,
    )
