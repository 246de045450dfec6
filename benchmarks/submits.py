"""How many jobs a second one API process accepts, each with a hold on its account's credit for every image."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, at_least, at_most, percentile
from benchmarks.installation import Installation, running
from benchmarks.scale import Scale

JOB_IMAGES = 14
_PER_SECOND = 100
_CALLERS = 40
_ACCOUNT = "default"
_CREDITS = 10_000_000
_PROMPT = "A dimly lit study at night, rain on tall windows, a brass desk lamp, an open drawer. View {n} of the room."


@dataclass(frozen=True, slots=True, kw_only=True)
class Submits:
    """`seconds` are from the moment at which each was due, so that one that waits its turn counts as slow."""

    per_second: float
    seconds: Sequence[float]


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    async with running(folder, placeholder=True) as installation:
        await installation.post("/v1/queue/pause")
        await _give_credit(installation)
        await _submit(installation, seconds=1.0)  # warm
        runs = [await _submit(installation, seconds=scale.submit_seconds) for _ in range(scale.runs)]
        account = await installation.get(f"/v1/accounts/{_ACCOUNT}")
    held = sum(round(run.per_second * scale.submit_seconds) for run in runs)
    if account["balance"]["credits_held"] < held * JOB_IMAGES:
        raise RuntimeError(f"too little of {account['balance']} is held for {held} jobs")
    return [
        Figure(
            name="held_submits",
            what=f"submits of {JOB_IMAGES} images with holds, one API process",
            unit="/s",
            runs=tuple(run.per_second for run in runs),
            goal=at_least(0.99 * _PER_SECOND),
        ),
        Figure(
            name="held_submit_p99",
            what="· p99",
            unit="ms",
            runs=tuple(1000 * percentile(run.seconds, 99) for run in runs),
            goal=at_most(100),
        ),
    ]


async def _give_credit(installation: Installation) -> None:
    """The account pays with credits, and has more than it will need."""
    changed = await installation.http.patch(f"/v1/accounts/{_ACCOUNT}", json={"billing": "credits"})
    changed.raise_for_status()
    await installation.post(f"/v1/accounts/{_ACCOUNT}/credits", {"credits": _CREDITS, "reason": "benchmark"})


async def _submit(installation: Installation, *, seconds: float) -> Submits:
    """At an even pace over connections that are kept."""
    total = int(seconds * _PER_SECOND)
    taken: list[float] = []
    turns = iter(range(total))
    began = time.perf_counter()

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", installation.port)
        for turn in turns:
            due = began + turn / _PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(_request(turn))
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
            if not head.startswith(b"HTTP/1.1 202 "):
                raise RuntimeError(f"a submit was answered {body[:300]!r}")
            taken.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return Submits(per_second=total / (time.perf_counter() - began), seconds=taken)


def _request(turn: int) -> bytes:
    images = [{"id": f"img-{n}", "prompt": _PROMPT.format(n=n)} for n in range(JOB_IMAGES)]
    body = json.dumps({"images": images, "metadata": {"turn": str(turn)}}).encode()
    head = f"POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body
