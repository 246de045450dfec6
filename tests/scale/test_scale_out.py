"""Many hosts, one PostgreSQL of the operator's, one bucket: what one host takes another one finishes and tells."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from benchmarks.plan import CONNECTIONS
from safelight.chaos import report
from safelight.db.pool import close_pool, open_pool
from safelight.delivery.webhooks.vault import new_key
from safelight.domain.events import EventType
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.latency import Latency
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.storage.place import BucketPlace
from safelight.storage.stores import Stores, open_stores
from tests.delivery.receiver import Receiver, receiving
from tests.orders import until
from tests.s3 import new_bucket, place_in
from tests.scale.callers import Caller, Witness
from tests.scale.hosts import Host, shared_settings
from tests.scale.outside_server import OutsideServer

JOBS = 10
IMAGES = 7
EVENTS = [each.value for each in EventType]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    config = SandboxConfig(pictures=1, latency=Latency(p50_seconds=0.6, p95_seconds=1.5))
    async with running_sandbox(config, bill_path=tmp_path / "bill.jsonl") as running:
        yield running


@dataclass(kw_only=True)
class Site:
    """All hosts of one installation, and the test's own eyes on what they share."""

    folder: Path
    settings: dict[str, str]
    pool: asyncpg.Pool
    place: BucketPlace
    stores: Stores
    sandbox: RunningSandbox
    witness: Witness = field(default_factory=Witness)
    hosts: dict[str, Host] = field(default_factory=dict)

    def host(self, name: str, command: str) -> Host:
        self.hosts[name] = host = Host(name=name, command=command, home=self.folder / name, settings=self.settings)
        return host


@asynccontextmanager
async def site_at(database: str, *, s3: str, sandbox: RunningSandbox, folder: Path) -> AsyncIterator[Site]:
    bucket = new_bucket(s3)
    settings = shared_settings(database=database, bucket=bucket, s3=s3, secret_key=new_key(), sandbox=sandbox)
    pool = await open_pool(database, min_size=1, max_size=4, application_name="tests")
    place = place_in(s3, bucket)
    stores = open_stores(place, staging_folder=folder / "eyes")
    site = Site(folder=folder, settings=settings, pool=pool, place=place, stores=stores, sandbox=sandbox)
    try:
        yield site
    finally:
        for host in site.hosts.values():
            await host.close()
        stores.close()
        await close_pool(pool)


async def test_a_role_that_may_do_nothing_else_and_a_bucket_are_all_that_two_hosts_share(
    outside_server: OutsideServer, s3: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    async with (
        outside_server.database() as database,
        site_at(database, s3=s3, sandbox=sandbox, folder=tmp_path) as site,
    ):
        api, worker = site.host("api", "api"), site.host("worker", "worker")
        migrated = await api.ran("db", "migrate")
        assert migrated.out.endswith("the schema is up to date\n"), migrated.err
        await asyncio.gather(api.start(), worker.start())
        await api.is_ready()
        job_id = await Caller(key="one", images=2, ways=[api], witness=site.witness).submitted()
        await all_ended(site.pool, [job_id])
        await same_pictures_everywhere(site, [job_id], [api])
        assert await site.pool.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        over_tcp = "SELECT bool_and(client_addr IS NOT NULL) FROM pg_stat_activity WHERE usename = current_user"
        assert await site.pool.fetchval(over_tcp)
        nothing_stays_on(api, worker)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_apis_and_four_workers_of_which_three_are_killed_deliver_everything_once_and_tell_the_same(
    outside_server: OutsideServer, s3: str, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    async with (
        outside_server.database() as database,
        site_at(database, s3=s3, sandbox=sandbox, folder=tmp_path) as site,
        receiving() as receiver,
    ):
        north, south = site.host("north", "api"), site.host("south", "api")
        workers = [site.host(f"worker-{n}", "worker") for n in range(1, 5)]
        await asyncio.gather(*(each.start() for each in site.hosts.values()))  # all of them find an empty database
        await asyncio.gather(north.is_ready(), south.is_ready(), *(each.has_registered(site.pool) for each in workers))
        await with_keys(site, north, south)
        receiver.answer = site.witness.taking()
        made = await north.client.post("/v1/webhooks", json={"url": receiver.url(), "events": EVENTS})
        assert made.status_code == 201, made.text

        ways = [(north, south), (south, north)]
        callers = [Caller(key=f"case-{n}", images=IMAGES, ways=ways[n % 2], witness=site.witness) for n in range(JOBS)]
        async with asyncio.TaskGroup() as running:
            for caller in callers:
                running.create_task(caller.run())
            await kill_the_busy(site, workers[:2], north)
            await asyncio.gather(north.start(), *(each.start() for each in workers[:2]))

        jobs = [caller.job_id for caller in callers]
        await all_ended(site.pool, jobs)
        await everything_is_posted(site.pool, receiver, made.json()["secret"], jobs)
        await both_tell_the_same(north, south, jobs)
        await same_pictures_everywhere(site, jobs, [north, south])
        for caller in callers:
            assert caller.heard == await events_of(south.client, caller.job_id), "its streams told every event, once"
        assert sum(caller.breaks for caller in callers) > 0, "somebody followed at the API that was killed"
        assert await site.pool.fetchval("SELECT count(*) FROM jobs WHERE status = 'completed'") == JOBS
        await until(site.pool, "SELECT count(*) = 0 FROM pgqueuer")
        ours = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND application_name <> 'tests'"
        assert await site.pool.fetchval(ours) <= 2 * CONNECTIONS["API process"] + 4 * CONNECTIONS["worker process"]
        for host in site.hosts.values():
            await host.stop()
        nothing_stays_on(*site.hosts.values())
        bill = site.sandbox.bill_path
        verdict = await site.witness.verdict(database, site.place, bill=bill, folder=tmp_path / "evidence")
        assert verdict.is_kept, report.text(verdict)
        assert {name for line in verdict.lines for name in line.missing} == {"sightings"}, "the rest was judged"


async def with_keys(site: Site, *apis: Host) -> None:
    """From here on requests need a key, which was made on one host and is good at all of them."""
    made = await apis[0].ran("keys", "create", "--admin", "--name", "operator")
    assert made.code == 0, made.err
    for api in apis:
        api.client.headers["Authorization"] = f"Bearer {made.out.strip()}"


async def kill_the_busy(site: Site, workers: Sequence[Host], api: Host) -> None:
    """Two workers with calls in flight and an API with streams open die at once, when a third of the work is done."""
    done = "SELECT count(*) >= $1 FROM images WHERE status = 'completed'"
    await until(site.pool, done, JOBS * IMAGES // 3, seconds=90)
    owned = "SELECT count(DISTINCT w.pid) = $2 FROM images i JOIN workers w ON w.id = i.worker_id WHERE w.pid = ANY($1)"
    await until(site.pool, f"{owned} AND i.status = 'generating'", [each.pid for each in workers], len(workers))
    await asyncio.gather(api.kill(), *(each.kill() for each in workers))
    assert await site.pool.fetchval("SELECT count(*) > 0 FROM images WHERE status = 'generating'")


async def all_ended(pool: asyncpg.Pool, jobs: Sequence[str]) -> None:
    over = "SELECT bool_and(status IN ('completed', 'partial', 'failed', 'canceled')) FROM jobs WHERE id = ANY($1)"
    await until(pool, over, list(jobs), seconds=120)


async def everything_is_posted(pool: asyncpg.Pool, receiver: Receiver, secret: str, jobs: Sequence[str]) -> None:
    """Every event of every job came, signed, at least once; of one job never a later one first."""
    await until(pool, "SELECT count(*) = 0 FROM deliveries WHERE status = 'pending'", seconds=60)
    seqs: dict[str, list[int]] = {job_id: [] for job_id in jobs}
    for message in receiver.messages:
        data = message.verified(secret)["data"]
        if data["seq"] not in seqs[data["job_id"]]:  # a worker that died may have posted without taking note of it
            seqs[data["job_id"]].append(data["seq"])
    told = dict(await pool.fetch("SELECT job_id, max(seq)::int FROM events GROUP BY job_id"))
    assert seqs == {job_id: list(range(1, told[job_id] + 1)) for job_id in jobs}


async def both_tell_the_same(north: Host, south: Host, jobs: Sequence[str]) -> None:
    paths = ["/v1/jobs?limit=100", "/v1/events?limit=1000", "/v1/queue"]
    paths += [f"/v1/jobs/{job_id}{rest}" for job_id in jobs for rest in ("", "/attempts")]
    for path in paths:
        one, other = [await api.client.get(path) for api in (north, south)]
        assert one.status_code == other.status_code == 200, (path, one.text, other.text)
        assert without_signatures(one.json()) == without_signatures(other.json()), path


async def same_pictures_everywhere(site: Site, jobs: Sequence[str], apis: Sequence[Host]) -> None:
    """Each completed image's picture is in the bucket, whole, and every API serves it: to a key, and to a link that
    another one has signed."""
    rows = await site.pool.fetch(
        "SELECT i.job_id, i.id, r.key, r.sha256 FROM renditions r JOIN images i ON i.row_id = r.image_row_id"
        " WHERE i.job_id = ANY($1) AND NOT r.is_internal ORDER BY i.job_id, i.position",
        list(jobs),
    )
    completed = "SELECT count(*) FROM images WHERE job_id = ANY($1) AND status = 'completed'"
    assert len(rows) == await site.pool.fetchval(completed, list(jobs)) > 0
    for row in rows:
        blob = await site.stores.blobs.get(row["key"])
        assert hashlib.sha256(blob).hexdigest() == row["sha256"]
        for api in apis:
            assert await site.witness.fetch(api.client, row["job_id"], row["id"]) == blob
    for job_id in jobs:
        shown = (await apis[0].client.get(f"/v1/jobs/{job_id}")).json()
        first = next(row for row in rows if row["job_id"] == job_id)
        picture = await site.stores.blobs.get(first["key"])
        link = next(each["url"] for each in shown["images"] if each["id"] == first["id"])
        for api in apis:
            async with httpx2.AsyncClient(trust_env=False, verify=False) as stranger:
                address = link.replace("http://images.example", str(api.client.base_url).rstrip("/"))
                assert (await stranger.get(address)).content == picture


async def events_of(client: httpx2.AsyncClient, job_id: str) -> list[tuple[int, str]]:
    answer = await client.get(f"/v1/jobs/{job_id}/events?after=0", headers={"Accept": "application/json"})
    return [(each["data"]["seq"], each["type"]) for each in answer.json()["events"]]


def without_signatures(told: Any) -> Any:
    """Links end at a time of their own: one that was signed a moment later may be another."""
    if isinstance(told, dict):
        return {name: without_signatures(each) for name, each in told.items()}
    if isinstance(told, list):
        return [without_signatures(each) for each in told]
    return told.partition("?")[0] if isinstance(told, str) and "signature=" in told else told


def nothing_stays_on(*hosts: Host) -> None:
    """What a host has in its folder is its own again: no picture, staged or finished, and no database."""
    for host in hosts:
        left = [path for path in host.home.rglob("*") if path.is_file() and "blobs" in path.parts]
        assert left == [], host.name
        assert not (host.home / "pg").exists()
