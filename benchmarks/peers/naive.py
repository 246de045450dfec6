# pyright: reportMissingImports=false
"""How pictures are bought without a service: by a script, batch after batch, or all at once in a request handler.

    python -m benchmarks.peers.naive batches|gather --url URL --folder FOLDER --scale SCALE

Both call as a vendor's SDK does as it comes: two more tries after what may pass (a lost connection, a timeout, 408,
409, 429, 5xx), after half a second, doubled up to eight, less up to a quarter, or what `Retry-After` asks for up to a
minute. What they have when they are done lies in FOLDER; how long it took is a line of JSON. SCALE shortens all times.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import time
from pathlib import Path

import httpx

from benchmarks.peers.contract import CALL_SECONDS
from benchmarks.peers.contract import JOB_IMAGES as IMAGES

BATCH = 5
HANDLER_SECONDS = 60.0
"""After which the handler's caller, or the proxy in between, has gone."""

_TRIES = 3
_PASSING = frozenset({408, 409, 429})


class NoPicture(Exception):
    """The tries are used up, or there is no point in another."""


async def batches(client: httpx.AsyncClient, url: str, scale: float) -> dict[int, bytes]:
    """Three, each begun when the one before it has ended. What failed is left out, as by a script that goes on."""
    found: dict[int, bytes] = {}
    for first in range(0, IMAGES, BATCH):
        numbers = range(first, min(first + BATCH, IMAGES))
        answers = await asyncio.gather(
            *(_picture(client, url, each, scale) for each in numbers), return_exceptions=True
        )
        found |= {number: answer for number, answer in zip(numbers, answers, strict=True) if isinstance(answer, bytes)}
    return found


async def gather(client: httpx.AsyncClient, url: str, scale: float) -> dict[int, bytes]:
    """All at once, for a caller who waits. One that fails is reported with the others; who has gone gets nothing."""
    try:
        async with asyncio.timeout(HANDLER_SECONDS * scale):
            answers = await asyncio.gather(
                *(_picture(client, url, each, scale) for each in range(IMAGES)), return_exceptions=True
            )
    except TimeoutError:
        return {}
    return {number: answer for number, answer in enumerate(answers) if isinstance(answer, bytes)}


async def _picture(client: httpx.AsyncClient, url: str, number: int, scale: float) -> bytes:
    """What the vendor calls a picture, unopened. Raises NoPicture, or what its answer lacks."""
    body = {
        "contents": [{"role": "user", "parts": [{"text": f"Scene {number} of the case of the silent hour"}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }
    for attempt in range(_TRIES):
        asked = None
        try:
            response = await client.post(url, json=body)
        except httpx.TransportError:
            pass
        else:
            if response.is_success:
                parts = response.json()["candidates"][0]["content"]["parts"]
                return base64.b64decode(next(part["inlineData"]["data"] for part in parts if "inlineData" in part))
            if response.status_code < 500 and response.status_code not in _PASSING:
                break
            asked = response.headers.get("retry-after")
        if attempt + 1 < _TRIES:
            await asyncio.sleep(_pause_seconds(attempt, asked, scale))
    raise NoPicture


def _pause_seconds(attempt: int, asked: str | None, scale: float) -> float:
    """What the vendor asked for is scaled already: by the vendor's stand-in."""
    if asked is not None and asked.replace(".", "", 1).isdigit() and 0 < float(asked) <= 60:
        return float(asked)
    return scale * min(0.5 * 2**attempt, 8.0) * (1 - 0.25 * random.random())  # noqa: S311 - no secret


async def _run(how: str, url: str, folder: Path, scale: float) -> None:
    began = time.perf_counter()
    headers = {"x-goog-api-key": "bench"}
    async with httpx.AsyncClient(headers=headers, timeout=CALL_SECONDS * scale, trust_env=False) as client:
        found = await {"batches": batches, "gather": gather}[how](client, url, scale)
    seconds = time.perf_counter() - began
    for number, content in found.items():
        (folder / f"{number}.png").write_bytes(content)
    print(json.dumps({"seconds": seconds}))  # noqa: T201 - the contract


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=("batches", "gather"))
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--scale", type=float, required=True)
    chosen = parser.parse_args()
    asyncio.run(_run(chosen.how, chosen.url, chosen.folder, chosen.scale))


if __name__ == "__main__":
    main()
