"""An idle service, as callers meet it: submits, the way to the vendor, a whole job, and the memory it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks import memory
from benchmarks.figures import Figure, at_most, percentile
from benchmarks.installation import Installation, running
from benchmarks.scale import Scale
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.latency import Latency
from safelight.sandbox.server import RunningSandbox, running_sandbox

JOB_IMAGES = 14
_MODEL = "gemini-3.1-flash-lite-image"
_PROMPT = (
    "A dimly lit study at night, rain on tall windows, a brass desk lamp, an open drawer with a torn letter in it, "
    "oil painting, muted colours, no people, no text. View {n} of the room."
)
_IDLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The service with two vendors: `instant` answers at once, `steady` after `vendor_seconds`, to the millisecond."""

    installation: Installation
    instant: RunningSandbox
    steady: RunningSandbox
    vendor_seconds: float


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    """In this order, because each leaves behind what the next can live with: the last ones fill the queue."""
    async with open_bench(scale, folder) as bench:
        calls = [await _first_calls(bench, scale.first_calls) for _ in range(scale.runs)]
        idle = await memory.idle(bench.installation)
        makespans = [await _makespan(bench) / bench.vendor_seconds for _ in range(scale.runs)]
        await bench.installation.post("/v1/queue/pause")
        submits = [await _submits(bench, scale.submits) for _ in range(scale.runs)]
        queued = (await bench.installation.get("/v1/queue"))["queued"]
        full = memory.of(bench.installation)
    p50s, p99s = (tuple(1000 * percentile(run, percent) for run in submits) for percent in (50, 99))
    first = tuple(1000 * percentile(run, 50) for run in calls)
    return [
        Figure(name="submit_p50", what="submit of 14 images, p50", unit="ms", runs=p50s, goal=at_most(15)),
        Figure(name="submit_p99", what="submit of 14 images, p99", unit="ms", runs=p99s, goal=at_most(100)),
        Figure(name="first_call_p50", what="submit → vendor call, p50", unit="ms", runs=first, goal=at_most(30)),
        Figure(
            name="makespan",
            what="makespan of 14 images at once over the vendor's latency",
            unit="×",
            runs=tuple(makespans),
            goal=at_most(1.08),
        ),
        *memory.figures(idle, full, queued=queued),
    ]


@asynccontextmanager
async def open_bench(scale: Scale, folder: Path | None, *, probe: str | None = None) -> AsyncIterator[Bench]:
    """Ready, and it has made a picture: everything that it loads late is loaded."""
    steady = Latency(p50_seconds=scale.vendor_seconds, p95_seconds=scale.vendor_seconds)
    async with (
        _vendor(SandboxConfig(pictures=1), folder) as instant,
        _vendor(SandboxConfig(pictures=1, latency=steady), folder) as slow,
        running(
            folder,
            probe=probe,
            **_provider("instant", instant),
            **_provider("steady", slow),
            default_provider="instant",
        ) as installation,
    ):
        bench = Bench(installation=installation, instant=instant, steady=slow, vendor_seconds=scale.vendor_seconds)
        warm = await installation.post("/v1/jobs", _job(images=1, provider="instant"))  # draws the vendor's picture
        await installation.ended(warm["id"])
        yield bench


@asynccontextmanager
async def _vendor(config: SandboxConfig, folder: Path | None) -> AsyncIterator[RunningSandbox]:
    """Its bill is nobody's business here."""
    bill = (folder or Path("/tmp")) / f"safelight-bench-bill-{uuid4().hex}.jsonl"  # noqa: S108 - a fresh name
    try:
        async with running_sandbox(config, bill_path=bill) as sandbox:
            yield sandbox
    finally:
        bill.unlink(missing_ok=True)


def _provider(name: str, vendor: RunningSandbox) -> dict[str, Any]:
    fields = {
        "kind": "gemini",
        "model": _MODEL,
        "base_url": vendor.gemini_url(),
        "api_key": "bench",
        "max_concurrency": JOB_IMAGES,
    }
    return {f"providers__{name}__{field}": value for field, value in fields.items()}


async def _first_calls(bench: Bench, count: int) -> list[float]:
    """Seconds from sending the POST to the vendor's seeing the call, one job of one image after the other."""
    taken: list[float] = []
    for _ in range(count):
        began = datetime.now(UTC)
        job = await bench.installation.post("/v1/jobs", _job(images=1, provider="instant"))
        ended = await bench.installation.ended(job["id"])
        calls = [call.at for call in bench.instant.vendor.calls if call.at > began]
        if ended["status"] != "completed" or len(calls) != 1:
            raise RuntimeError(f"{len(calls)} calls, and the job ended as {ended['status']}: {bench.installation.log}")
        taken.append((calls[0] - began).total_seconds())
        await asyncio.sleep(_IDLE_SECONDS)  # the worker clears up after an image; the next one is to find it idle
    return taken


async def run_steady_job(bench: Bench) -> tuple[datetime, str, datetime]:
    """When the POST was sent, the job's id, and when the job had ended; with the default rendition."""
    began = datetime.now(UTC)
    job = await bench.installation.post("/v1/jobs", _job(images=JOB_IMAGES, provider="steady"))
    ended = await bench.installation.ended(job["id"])
    if ended["status"] != "completed":
        raise RuntimeError(f"the job ended as {ended['status']}; see {bench.installation.log}")
    return began, job["id"], datetime.fromisoformat(ended["completed_at"])


async def _makespan(bench: Bench) -> float:
    """Seconds from sending the POST to the job's end."""
    began, _, ended = await run_steady_job(bench)
    return (ended - began).total_seconds()


async def _submits(bench: Bench, count: int) -> list[float]:
    """Seconds of each POST, one after the other over one connection; nothing is bought meanwhile."""
    taken: list[float] = []
    for _ in range(count):
        body, key = _job(images=JOB_IMAGES, provider="instant"), {"idempotency-key": uuid4().hex}
        began = time.perf_counter()
        response = await bench.installation.http.post("/v1/jobs", json=body, headers=key)
        taken.append(time.perf_counter() - began)
        response.raise_for_status()
    return taken


def _job(*, images: int, provider: str) -> dict[str, object]:
    return {
        "images": [{"id": f"view-{n}", "group": "views", "prompt": _PROMPT.format(n=n)} for n in range(images)],
        "defaults": {"provider": provider},
    }
