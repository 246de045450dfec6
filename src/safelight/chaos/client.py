"""A client that orders, asks again when it got no answer, cancels and retries, and writes down what it was answered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from safelight.chaos.evidence import Submission, line
from safelight.chaos.plan import TIMEOUT_SECONDS, TROUBLED_JOBS, VENDORS, Plan

_SIZES = (1, 1, 1, 2, 2, 3, 4, 14)
"""Images of a job, each as often as the others."""
_MOST_OPEN_IMAGES = 400
_REFUSED_SECONDS = 0.3
_TURNED_AWAY = frozenset({408, 409, 429, 500, 502, 503, 504})
_ENDED = frozenset({"completed", "partial", "failed", "canceled"})


@dataclass(slots=True, kw_only=True)
class Client:
    """Orders as `plan` says from the API processes at `urls`, by turns. What it was answered is in `log`, line by line;
    `did` counts what else it did. `open_images` tells how much waits, so that a slow machine is not buried."""

    plan: Plan
    urls: list[str]
    log: Path
    open_images: Callable[[], int]
    did: Counter[str] = field(default_factory=Counter)
    _turn: int = 0

    async def run(self, seconds: float) -> None:
        """Orders for so long; returns once each order that was begun has been answered with its job, and every job that
        is to be retried has ended. So whoever waits for this bounds it."""
        self.log.touch()
        loop = asyncio.get_running_loop()
        began, dice = loop.time(), self.plan.dice("client")
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        async with (
            httpx2.AsyncClient(timeout=10, trust_env=False, limits=limits) as http,
            asyncio.TaskGroup() as orders,
        ):
            for number in range(self.plan.wanted_jobs):
                await asyncio.sleep(max(0.0, began + number * self.plan.pause_between_jobs_seconds - loop.time()))
                while self.open_images() > _MOST_OPEN_IMAGES and loop.time() < began + seconds:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
                if loop.time() >= began + seconds:
                    break
                orders.create_task(self._order(http, number, random.Random(dice.random())))  # noqa: S311

    async def _order(self, http: httpx2.AsyncClient, number: int, dice: random.Random) -> None:
        key, body = f"soak-{self.plan.seed}-{number}", _body(number, dice)
        # Some callers hang up before they are answered, and ask again.
        patience = [dice.uniform(0.002, 0.05)] if dice.random() < 0.1 else []
        job_id = None
        while job_id is None:
            job_id = await self._submit(http, key, body, seconds=patience.pop() if patience else 10.0)
        if dice.random() < 0.1:
            await asyncio.sleep(dice.uniform(0, 5))
            if await self._submit(http, key, body, seconds=10.0) is not None:
                self.did["submits repeated after their answer"] += 1
        if dice.random() < 0.06:
            await asyncio.sleep(dice.uniform(0.2, 5))
            mode = dice.choice(["finish", "abort"])
            await self._say(http, f"/v1/jobs/{job_id}/cancel", {"mode": mode}, counted="cancels")
        if dice.random() < 0.3:
            await self._retry(http, job_id)

    async def _submit(self, http: httpx2.AsyncClient, key: str, body: dict[str, Any], *, seconds: float) -> str | None:
        """The job's id, when the answer had it."""
        status = job_id = None
        try:
            with contextlib.suppress(httpx2.TransportError, TimeoutError):
                async with asyncio.timeout(seconds):
                    answer = await http.post(f"{self._url()}/v1/jobs", json=body, headers={"Idempotency-Key": key})
                    status = answer.status_code
                    job_id = answer.json()["id"] if answer.is_success else None
        finally:  # whoever is told to stop has asked all the same
            self._write_down(key, body, status=status, job_id=job_id)
        self.did["submits sent"] += 1
        if status is None:
            self.did["submits without an answer"] += 1
        if job_id is None:
            if status is not None and status not in _TURNED_AWAY:
                raise RuntimeError(f"a submit was refused with {status}: it should have been right")
            await asyncio.sleep(_REFUSED_SECONDS)
        return job_id

    def _write_down(self, key: str, body: dict[str, Any], *, status: int | None, job_id: str | None) -> None:
        asked = Submission(
            at=datetime.now(UTC),
            key=key,
            status=status,
            job_id=job_id,
            images=tuple(image["id"] for image in body["images"]),
            prompts_sha256=tuple(hashlib.sha256(image["prompt"].encode()).hexdigest() for image in body["images"]),
            is_told=True,
        )
        with self.log.open("ab") as log:
            log.write(line(asked))

    async def _retry(self, http: httpx2.AsyncClient, job_id: str) -> None:
        """Once it has ended without all of its pictures."""
        while True:
            job = await self._look(http, job_id)
            if job.get("status") in _ENDED:
                break
        if job["status"] != "completed":
            await self._say(http, f"/v1/jobs/{job_id}/retry", {}, counted="retries")

    async def _look(self, http: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
        with contextlib.suppress(httpx2.TransportError):
            answer = await http.get(f"{self._url()}/v1/jobs/{job_id}", params={"wait": 5})
            if answer.is_success:
                return answer.json()
        await asyncio.sleep(_REFUSED_SECONDS)
        return {}

    async def _say(self, http: httpx2.AsyncClient, path: str, body: dict[str, Any], *, counted: str) -> None:
        """Tried until there is an answer; what it is is the service's to say."""
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = await http.post(f"{self._url()}{path}", json=body)
                if answer.status_code not in _TURNED_AWAY or answer.status_code == 409:
                    self.did[counted] += answer.is_success
                    return
            await asyncio.sleep(_REFUSED_SECONDS)

    def _url(self) -> str:
        self._turn += 1
        return self.urls[self._turn % len(self.urls)]


def _body(number: int, dice: random.Random) -> dict[str, Any]:
    """A job like those that applications order; every prompt in it is one image's alone."""
    vendors = sorted(VENDORS)
    images = []
    for position in range(dice.choice(_SIZES)):
        vendor = dice.choice(vendors)
        wish: dict[str, Any] = {
            "id": f"img-{position:02}",
            "group": "soak",
            "provider": vendor,
            "prompt": f"A brass key on a table, job {number}, picture {position}",
        }
        if vendor in ("replicate", "fal") and dice.random() < 0.1:
            wish["prompt"] += f" [[sandbox: {dice.choice(TROUBLED_JOBS)}]]"
        if dice.random() < 0.1:
            wish["fallback"] = [dice.choice([other for other in vendors if other != vendor])]
            wish["on_refusal"] = dice.choice(["stop", "next_provider"])
        images.append(wish)
    body: dict[str, Any] = {
        "images": images,
        "defaults": {"timeout_seconds": TIMEOUT_SECONDS},
        "outputs": [{"name": "card", "width": 96, "height": 96, "format": dice.choice(["jpeg", "webp", "png"])}],
        "metadata": {"soak": str(number)},
        "priority": dice.choice(["high", "normal", "normal", "low"]),
    }
    if dice.random() < 0.03:
        body |= {"deadline_seconds": 5, "on_deadline": "fail"}
    return body
