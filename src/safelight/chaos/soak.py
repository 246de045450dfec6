"""A soak: an installation that works while everything around it breaks, then quiet, then the judgement."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from safelight.chaos.checker import judge
from safelight.chaos.client import Client
from safelight.chaos.collect import collect_books, collect_store
from safelight.chaos.evidence import Payment, Served, read, write_lines
from safelight.chaos.installation import Installation, NotReady, installed
from safelight.chaos.monkey import Monkey
from safelight.chaos.outcome import Outcome, outcome_of
from safelight.chaos.plan import Plan
from safelight.chaos.receiver import Receiver, receiving
from safelight.chaos.watch import Watch
from safelight.db.pool import close_pool, open_pool
from safelight.domain.events import EventType
from safelight.engine.queue.sweep import sweep
from safelight.engine.timing import Timing
from safelight.storage.local_staging import LocalStaging
from safelight.storage.place import Folder

Say = Callable[[str], None]

_TELL_SECONDS = 15.0
_QUIET_SECONDS = 0.5
_IDLE_SECONDS = 90.0
_SWEEPS = 20
_FETCHES_AT_ONCE = 8
_RETRY_SECONDS = [2.0, 2.0, 5.0, 5.0, 10.0, 10.0, 20.0, 20.0]
_CREDITS = 10_000_000


async def soak(plan: Plan, *, home: Path, say: Say) -> Outcome:
    """Runs all of it in `home`, which is empty, and stays: the evidence is in `home/evidence`, what processes said in
    `home/logs`. `say` hears how far it is. Raises NotReady when the installation does not come up."""
    evidence = home / "evidence"
    evidence.mkdir(parents=True)
    began = datetime.now(UTC)
    async with (
        receiving(evidence / "receptions.jsonl", seed=plan.seed) as receiver,
        installed(home, plan) as installation,
        _watching(installation) as watch,
    ):
        await _set_up(installation, receiver, evidence)
        monkey = Monkey(plan=plan, installation=installation, watch=watch)
        client = Client(
            plan=plan,
            urls=installation.urls,
            log=evidence / "submissions.jsonl",
            open_images=lambda: watch.open_images,
        )
        say(f"{plan.minutes:g} minutes of storm, seed {plan.seed}, in {home}")
        is_answered = await _storm(plan, client, monkey, installation, say)
        receiver.is_faulty = False
        quiet_seconds, left = await _quiet(plan, watch, say)
        await monkey.settled()
        left |= await watch.given_up()
        if not is_answered:
            left["client"] = 1
        if not await installation.vendors_are_idle(_IDLE_SECONDS):
            left["vendors' calls"] = 1
        await _fetch(installation, watch, evidence)
        await installation.stop_workers()
        await installation.stop_apis()
        swept = await _sweep(installation)
        say("collecting the evidence")
        await _collect(installation, watch, evidence)
    found = await asyncio.to_thread(read, evidence)
    (home / "logs" / "monkey.log").write_text("\n".join(monkey.log) + "\n")
    did = Counter(monkey.did) + Counter(client.did) + _answers(receiver)
    return outcome_of(
        plan,
        await asyncio.to_thread(judge, found),
        found,
        did=did,
        watch=watch,
        back_at=monkey.back_at,
        began=began,
        quiet_seconds=quiet_seconds,
        left=left,
        swept=swept,
    )


async def _storm(plan: Plan, client: Client, monkey: Monkey, installation: Installation, say: Say) -> bool:
    """Orders come and things break; at the end everything stands again: whether the last orders are answered then."""
    ordering = asyncio.create_task(client.run(plan.seconds))
    telling = asyncio.create_task(_tell(client, monkey, say))
    try:
        async with monkey.at_work():
            await asyncio.wait([ordering], timeout=plan.seconds)
        say("quiet: nothing is broken any more")
        await installation.end_vendor_faults()
        await asyncio.wait([ordering], timeout=plan.patience_seconds)
    finally:
        for task in (ordering, telling):
            task.cancel()
        await asyncio.wait([ordering, telling])
    if not ordering.cancelled():
        ordering.result()  # raises what ended it
    return not ordering.cancelled()


async def _tell(client: Client, monkey: Monkey, say: Say) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(_TELL_SECONDS)
        did = ", ".join(f"{count} {what}" for what, count in sorted(monkey.did.items()))
        say(f"{time.monotonic() - began:4.0f} s: {client.did['submits sent']} submits, {did}")


async def _quiet(plan: Plan, watch: Watch, say: Say) -> tuple[float, dict[str, int]]:
    """Returns when nothing is under way any more, or patience ends: after how many seconds, and what still was."""
    began = told = time.monotonic()
    left: dict[str, int] = {}
    while time.monotonic() < began + plan.patience_seconds:
        found = await watch.unfinished()
        if found is not None:
            left = found
            if not left:
                break
        if time.monotonic() > told + _TELL_SECONDS:
            told = time.monotonic()
            say(f"{told - began:4.0f} s of quiet, open: {left}")
        await asyncio.sleep(_QUIET_SECONDS)
    return time.monotonic() - began, left


async def _fetch(installation: Installation, watch: Watch, evidence: Path) -> None:
    """Every picture that there is, as a caller would."""
    turns, served = asyncio.Semaphore(_FETCHES_AT_ONCE), []

    async def one(http: httpx2.AsyncClient, job_id: str, image_id: str) -> None:
        async with turns:
            try:
                answer = await http.get(f"/v1/jobs/{job_id}/images/{image_id}")
            except httpx2.TransportError:
                served.append(Served(job_id=job_id, image_id=image_id, status=None))
                return
        served.append(Served.as_answered(job_id, image_id, answer))

    async with (
        httpx2.AsyncClient(base_url=installation.urls[0], timeout=30, trust_env=False) as http,
        asyncio.TaskGroup() as group,
    ):
        for job_id, image_id in await watch.completed():
            group.create_task(one(http, job_id, image_id))
    write_lines(evidence / "served.jsonl", served)


async def _sweep(installation: Installation) -> list[int]:
    """What each sweep found until one found nothing: what workers that drained had left to others."""
    pool = await open_pool(installation.dsn, min_size=1, max_size=2, application_name="safelight soak")
    queue = await open_pool(
        installation.dsn, min_size=1, max_size=2, application_name="safelight soak", jsonb_as_values=False
    )
    found: list[int] = []
    try:
        while len(found) < _SWEEPS and (not found or found[-1]):
            findings = await sweep(pool, queue, LocalStaging(installation.staging), timing=Timing())
            found.append(findings.total if findings is not None else 0)
    finally:
        await close_pool(queue)
        await close_pool(pool)
    return found


async def _collect(installation: Installation, watch: Watch, evidence: Path) -> None:
    await collect_books(installation.dsn, evidence)
    await collect_store(Folder(root=installation.store), evidence)
    write_lines(evidence / "sightings.jsonl", watch.sightings)
    await asyncio.to_thread(shutil.copyfile, installation.bill, evidence / "bill.jsonl")


async def _set_up(installation: Installation, receiver: Receiver, evidence: Path) -> None:
    """An account that pays in advance, which is written down, and a receiver that hears of everything."""
    events = [each.value for each in EventType]
    async with httpx2.AsyncClient(base_url=installation.urls[0], timeout=30, trust_env=False) as http:

        async def told(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = await http.request(method, path, json=body)
            if not answer.is_success:
                raise NotReady(f"{method} {path} was answered with {answer.status_code}: {answer.text}")
            return answer.json()

        await told("PATCH", "/v1/accounts/default", {"billing": "credits"})
        await told("POST", "/v1/accounts/default/credits", {"credits": _CREDITS})
        paid = Payment(at=datetime.now(UTC), account="default", currency="credits", amount=_CREDITS)
        write_lines(evidence / "payments.jsonl", [paid])
        wish = {"url": receiver.url, "events": events, "retry_seconds": _RETRY_SECONDS}
        receiver.secrets.append((await told("POST", "/v1/webhooks", wish))["secret"])


@asynccontextmanager
async def _watching(installation: Installation) -> AsyncIterator[Watch]:
    watch = Watch(dsn=installation.dsn, staging=LocalStaging(installation.staging))
    counting = asyncio.create_task(watch.count())
    try:
        yield watch
    finally:
        counting.cancel()
        await asyncio.wait([counting])
        await watch.close()


def _answers(receiver: Receiver) -> Counter[str]:
    return Counter({f"webhooks answered: {what}": count for what, count in receiver.faults.items()})
