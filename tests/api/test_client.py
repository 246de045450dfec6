"""The client's events, watch and feed against the service itself."""

from __future__ import annotations

import asyncio

import asyncpg
import httpx2
import pytest

from safelight.client import ApiProblem, SafelightClient
from safelight.domain.lifecycle import JobStatus
from tests.api.conftest import Serve, submitted
from tests.api.test_feed import told
from tests.api.test_streams import append, end, retry

NEVER = 3600.0


async def test_events_go_on_into_a_run_that_began_meanwhile_and_end_with_the_last(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    job_id = (await submitted(client))["id"]
    await append(pool, job_id, 3)
    await end(pool, job_id, JobStatus.PARTIAL)
    await retry(pool, job_id)
    async with asyncio.timeout(50), SafelightClient(str(client.base_url)) as service:
        events = service.events(job_id, after=2)
        told = [await anext(events) for _ in range(4)]
        assert [(each.type, each.seq) for each in told[-2:]] == [("job.partial", 5), ("job.retried", 6)]
        await end(pool, job_id)
        told += [each async for each in events if each.seq]
        assert [each.seq for each in told] == [3, 4, 5, 6, 7]
        assert [each.type async for each in service.events(job_id)] == ["snapshot"]
        assert [each.type async for each in service.events(job_id, after=99)] == ["reset", "snapshot"]
        assert [each.type async for each in service.events(job_id, after=7)] == []
        with pytest.raises(ApiProblem, match="no such job"):
            await anext(service.events("job_unknown"))


async def test_a_wait_ends_because_the_stream_says_so(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    async with asyncio.timeout(50), SafelightClient(str(client.base_url)) as service:
        watching = service.watch(job_id, interval_seconds=NEVER)
        assert (await anext(watching)).status is JobStatus.PENDING
        await end(pool, job_id, JobStatus.FAILED)
        assert (await anext(watching)).status is JobStatus.FAILED
        assert (await service.wait(job_id)).status is JobStatus.FAILED


async def test_without_room_for_streams_a_job_is_watched_all_the_same(serve_with: Serve, pool: asyncpg.Pool):
    async with asyncio.timeout(50), serve_with(max_streams=0) as client:
        job_id = (await submitted(client))["id"]
        async with SafelightClient(str(client.base_url), patience_seconds=0.2) as service:
            with pytest.raises(ApiProblem) as raised:
                await anext(service.events(job_id))
            assert (raised.value.slug, raised.value.retry_after_seconds) == ("too-many-streams", 10)
            watching = service.watch(job_id, interval_seconds=0.02)
            assert (await anext(watching)).status is JobStatus.PENDING
            await end(pool, job_id)
            assert (await anext(watching)).status is JobStatus.COMPLETED


async def test_the_feed_is_read_in_pages_to_its_end_and_then_waited_for(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    await append(pool, job_id, 4)
    await told(client, 5)  # until then other tests' transactions may hold some of them back
    async with asyncio.timeout(50), SafelightClient(str(client.base_url)) as service:
        pages = [page async for page in service.account_events(limit=2)]
        assert [[each.seq for each in page.events] for page in pages] == [[1, 2], [3, 4], [5]]
        assert pages[0].events[1].image_id == "one"
        following = service.account_events(after=pages[-1].next_cursor, follow=True)
        news = asyncio.ensure_future(anext(following))
        await append(pool, job_id)
        assert [each.seq for each in (await news).events] == [6]
