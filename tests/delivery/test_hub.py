"""Who follows a job is told each event once and in order, whatever comes at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from safelight.db.statements import load
from safelight.delivery.envelope import Event
from safelight.delivery.hub import EventHub, Following, News
from safelight.engine.orders.submit import submit
from tests.orders import image, order


class Log:
    """A log that is read in pages of 100, as the database's is."""

    def __init__(self, length: int) -> None:
        self.news = [news(seq) for seq in range(1, length + 1)]

    async def read(self, after: int) -> Sequence[News]:
        return [each for each in self.news if each.seq is not None and each.seq > after][:100]


def news(seq: int) -> News:
    return News(seq, ends_run=False, frame=b"%d" % seq)


async def told(following: Following, count: int) -> list[int | None]:
    seqs: list[int | None] = []
    async with asyncio.timeout(20):
        while len(seqs) < count:
            batch = await following.next()
            assert batch, f"ended after {seqs}"
            seqs += [each.seq for each in batch]
    return seqs


async def test_what_a_queue_cannot_hold_is_read_from_the_log():
    log = Log(250)
    following = Following(log.read, after=0)
    assert await told(following, 250) == list(range(1, 251))

    log.news += [news(seq) for seq in range(251, 1251)]
    following.push(log.news[250:300])
    following.push(log.news[300:1250])

    assert await told(following, 1000) == list(range(251, 1251))


@pytest.mark.parametrize("pushed", [range(3, 6), range(5, 7), range(7, 9), range(1, 3)])
async def test_news_that_overlap_the_backlog_or_leave_a_gap_are_told_once(pushed: range):
    log = Log(8)
    following = Following(log.read, after=2)
    following.push([news(seq) for seq in pushed])

    assert await told(following, 6) == [3, 4, 5, 6, 7, 8]


async def test_a_log_that_was_cut_in_the_meantime_ends_the_following():
    log = Log(300)
    following = Following(log.read, after=0)
    assert await told(following, 100) == list(range(1, 101))
    del log.news[:200]
    assert await following.next() == ()

    behind = Following(Log(0).read, after=0)
    behind.push([news(2)])
    assert await behind.next() == ()


class LateHub(EventHub):
    """Its first question waits until it is told to ask."""

    may_ask: asyncio.Event

    async def _look(self) -> bool:
        await self.may_ask.wait()
        return await super()._look()


async def test_what_happens_between_registering_and_the_first_question_is_told(pool: asyncpg.Pool):
    job_id = (await submit(pool, order(image("one")), run_limit_seconds=3600)).job_id
    hub = LateHub(pool, encode=type_of, closing=asyncio.Event(), acquire_seconds=5.0)
    hub.may_ask = asyncio.Event()
    with hub.follow(job_id, after=1) as following:
        reading = asyncio.create_task(told(following, 1))
        for _ in range(10):  # longer than it would take to read a page too early
            await pool.fetchval("SELECT 1")
        await pool.execute(load("jobs").append_events, job_id, ["image.started"], ["one"], [{}])
        hub.may_ask.set()
        assert await reading == [2]


async def test_an_event_is_encoded_once_for_all_who_follow(pool: asyncpg.Pool):
    job_id = (await submit(pool, order(image("one")), run_limit_seconds=3600)).job_id
    encoded: list[int] = []

    def encode(event: Event) -> bytes:
        encoded.append(event.seq)
        return type_of(event)

    hub = EventHub(pool, encode=encode, closing=asyncio.Event(), acquire_seconds=5.0)
    with hub.follow(job_id, after=0) as one, hub.follow(job_id, after=0) as other:
        assert await told(one, 1) == await told(other, 1) == [1]
        await pool.execute(load("jobs").append_events, job_id, ["image.started"], ["one"], [{}])
        assert await told(one, 1) == await told(other, 1) == [2]
    assert encoded == [1, 1, 2]


def type_of(event: Event) -> bytes:
    return event.type.encode()


async def test_what_bears_a_number_from_before_a_crash_is_told(pool: asyncpg.Pool):
    """A server gives numbers a second time that it gave just before it crashed, and had written nothing of."""
    job_id = (await submit(pool, order(image("one")), run_limit_seconds=3600)).job_id
    hub = CutOffHub(pool, encode=type_of, closing=asyncio.Event(), acquire_seconds=5.0)
    with hub.follow(job_id, after=0) as following:
        assert await told(following, 1) == [1]
        hub.is_cut_off = True
        await hub.has_been_cut_off.wait()
        await pool.execute(load("jobs").append_events, job_id, ["image.started"], ["one"], [{}])
        await pool.execute("UPDATE events SET xact = '3' WHERE seq = 2")
        hub.is_cut_off = False
        async with asyncio.timeout(5):
            assert await told(following, 1) == [2]


class CutOffHub(EventHub):
    """Its database does not answer for a while."""

    is_cut_off = False

    async def _look(self) -> bool:
        self.has_been_cut_off = getattr(self, "has_been_cut_off", asyncio.Event())
        if self.is_cut_off:
            self.has_been_cut_off.set()
            raise ConnectionResetError
        return await super()._look()
