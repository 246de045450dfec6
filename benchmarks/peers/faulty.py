"""Fourteen pictures from a vendor that is slow and fails now and then: bought by a script, by a request handler, by
Safelight. What arrives, when, and what the vendor bills for it."""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

from benchmarks.figures import Figure
from benchmarks.installation import running
from benchmarks.peers.contest import PYTHON
from benchmarks.peers.contract import CALL_SECONDS
from benchmarks.peers.contract import JOB_IMAGES as IMAGES
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import parse_fault_rates
from safelight.sandbox.latency import Latency
from safelight.sandbox.server import RunningSandbox, running_sandbox

SCALE = 0.25
"""All times are this much shorter than life: the vendor's, the clients' patience, their pauses."""
LATENCY = Latency(p50_seconds=2.0 * SCALE, p95_seconds=6.0 * SCALE)
"""That of the sandbox as it comes, scaled."""
FAULTS = f"429 {2 * SCALE:g}=0.03,500=0.03,hang {600 * SCALE:g}=0.01,cut=0.02,garbage=0.01"
"""A tenth of the calls."""
MODEL = "gemini-3.1-flash-lite-image"
WAYS: Mapping[str, str] = {
    "batches": "a script, three batches one after the other",
    "gather": "all at once in a request handler",
    "safelight": "Safelight",
}

_ROOT = Path(__file__).parents[2]
_GRACE_SECONDS = 15.0
_SETTLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """`delivered` can be opened; `paid` calls are on the vendor's bill. `seconds` is scaled as everything is."""

    seconds: float
    delivered: int
    paid: int

    @property
    def for_nothing(self) -> int:
        return self.paid - self.delivered


async def measure(*, seeds: int, folder: Path | None) -> dict[str, list[Bought]]:
    """Each way once with each seed of the vendor's, taking turns. Where a call's turn comes, another fault may fall."""
    found: dict[str, list[Bought]] = {way: [] for way in WAYS}
    for seed in range(1, seeds + 1):
        for way in WAYS:
            sys.stderr.write(f"{way}, seed {seed} … ")
            sys.stderr.flush()
            bought = await _bought(way, seed, folder)
            sys.stderr.write(f"{bought.delivered} of {IMAGES} in {bought.seconds:.1f} s, {bought.paid} paid\n")
            found[way].append(bought)
    return found


def figures(found: Mapping[str, Sequence[Bought]]) -> list[Figure]:
    """For programs."""
    made: list[Figure] = []
    for way, runs in found.items():
        of_runs = {
            "makespan": ("s", tuple(run.seconds for run in runs)),
            "delivered": ("images", tuple(float(run.delivered) for run in runs)),
            "paid": ("calls", tuple(float(run.paid) for run in runs)),
            "for_nothing": ("calls", tuple(float(run.for_nothing) for run in runs)),
        }
        made += [
            Figure(name=f"faulty_{way}_{name}", what=f"{WAYS[way]}, {name.replace('_', ' ')}", unit=unit, runs=values)
            for name, (unit, values) in of_runs.items()
        ]
    return made


def markdown(found: Mapping[str, Sequence[Bought]]) -> str:
    """Medians; in brackets all of the seeds together, since what is lost in one run of ten is in no median."""
    head = f"| how | makespan | delivered of {IMAGES} | paid calls | paid for nothing |\n|---|--:|--:|--:|--:|"
    lines = [head]
    for way, runs in found.items():
        cells = [f"{statistics.median(run.seconds for run in runs):.1f} s"]
        for values in (
            [run.delivered for run in runs],
            [run.paid for run in runs],
            [run.for_nothing for run in runs],
        ):
            cells.append(f"{statistics.median(values):g} ({sum(values)})")
        lines.append(f"| {WAYS[way]} | {' | '.join(cells)} |")
    return "\n".join(lines)


async def _bought(way: str, seed: int, folder: Path | None) -> Bought:
    config = SandboxConfig(latency=LATENCY, fault_rates=parse_fault_rates(FAULTS), seed=seed, pictures=4)
    with tempfile.TemporaryDirectory(prefix="safelight-bench-", dir=folder) as place:
        async with running_sandbox(config, bill_path=Path(place) / "bill.jsonl") as sandbox:
            buy = _by_safelight(sandbox, folder) if way == "safelight" else _naively(way, sandbox, Path(place))
            seconds, delivered = await buy
            vendor = sandbox.vendor
            # A generation whose caller has gone goes on, and is billed. One that hangs never is.
            await vendor.wait_until(
                lambda: len(vendor.bill.calls) == len(vendor.calls), timeout_seconds=_SETTLE_SECONDS * SCALE
            )
            return Bought(seconds=seconds, delivered=delivered, paid=vendor.bill.charged_calls)


async def _naively(way: str, sandbox: RunningSandbox, place: Path) -> tuple[float, int]:
    pictures = place / "pictures"
    pictures.mkdir()
    url = f"{sandbox.gemini_url()}/v1beta/models/{MODEL}:generateContent"
    process = await asyncio.create_subprocess_exec(
        *(str(PYTHON), "-m", "benchmarks.peers.naive", way),
        *("--url", url, "--folder", str(pictures), "--scale", str(SCALE)),
        cwd=_ROOT,
        stdin=DEVNULL,
        stdout=PIPE,
    )
    told, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the script ended badly")
    return json.loads(told)["seconds"], sum(_opens(each.read_bytes()) for each in pictures.iterdir())


async def _by_safelight(sandbox: RunningSandbox, folder: Path | None) -> tuple[float, int]:
    """As it comes, but for what the scale shortens. The pauses that a vendor asks for are never less than a second."""
    fields = {
        "kind": "gemini",
        "model": MODEL,
        "base_url": sandbox.gemini_url(),
        "api_key": "bench",
        "max_concurrency": IMAGES,
    }
    settings: dict[str, Any] = {f"providers__gemini__{name}": value for name, value in fields.items()}
    settings |= {"default_provider": "gemini", "grace_seconds": _GRACE_SECONDS * SCALE, "retry_unit_seconds": SCALE}
    images = [{"id": f"scene-{n}", "prompt": f"Scene {n} of the case of the silent hour"} for n in range(IMAGES)]
    job = {"images": images, "defaults": {"timeout_seconds": CALL_SECONDS * SCALE}}
    async with running(folder, **settings) as installation:
        loop = asyncio.get_running_loop()
        began = loop.time()
        accepted = await installation.post("/v1/jobs", job)
        ended = await installation.ended(accepted["id"])
        seconds = loop.time() - began
        return seconds, sum([await _delivered(installation.http, image) for image in ended["images"]])


async def _delivered(http: httpx2.AsyncClient, image: Mapping[str, object]) -> bool:
    if image["status"] != "completed":
        return False
    return _opens((await http.get(str(image["url"]), follow_redirects=True)).raise_for_status().content)


def _opens(content: bytes) -> bool:
    """To its last row."""
    try:
        Image.open(io.BytesIO(content)).load()
    except (OSError, SyntaxError):
        return False
    return True
