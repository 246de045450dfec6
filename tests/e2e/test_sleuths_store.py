"""Where the game keeps its cases: the same promises of a file and of Redis."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotYet

from examples.armchair_sleuths.file_store import FileStore
from examples.armchair_sleuths.redis_store import RedisStore
from examples.armchair_sleuths.store import Store, change
from tests.e2e.service import eventually, free_port


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server on this machine")
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    words = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "no")
    process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"

    def answers() -> bool:
        with Redis.from_url(url) as redis, suppress(NotYet):
            return bool(redis.ping())
        return False

    try:
        eventually(answers, what="Redis")
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["file", "redis"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two of the same place, as two processes have them."""

    def opened() -> Store:
        if request.param == "file":
            return FileStore(tmp_path / "store.sqlite3")
        return RedisStore(request.getfixturevalue("redis_url"))

    both = (opened(), opened())
    yield both
    for store in both:
        await store.aclose()


async def test_what_one_process_puts_the_other_gets(stores: tuple[Store, Store]) -> None:
    ours, theirs = stores
    assert await theirs.get("put") is None
    await ours.put("put", "one")
    await ours.put("put", "twö")
    assert await theirs.get("put") == "twö"


async def test_swap_is_refused_when_another_came_before(stores: tuple[Store, Store]) -> None:
    ours, theirs = stores
    assert await ours.swap("swap", None, "first")
    assert not await theirs.swap("swap", None, "also first")
    assert await theirs.swap("swap", "first", "second")
    assert not await ours.swap("swap", "first", "third")
    assert not await ours.swap("not there", "first", "second")
    assert await ours.get("swap") == "second"


async def test_concurrent_changes_lose_nothing(stores: tuple[Store, Store]) -> None:
    async def add(n: int) -> None:
        await change(stores[n % 2], "count", lambda old: sorted([*(old or []), n]))

    await asyncio.gather(*(add(n) for n in range(20)))

    assert await change(stores[0], "count", lambda old: old) == list(range(20))


async def test_old_values_are_forgotten_without_a_look_at_the_others(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store.sqlite3")
    with closing(sqlite3.connect(tmp_path / "store.sqlite3")) as db:
        [plan] = db.execute("EXPLAIN QUERY PLAN DELETE FROM entries WHERE expires_at <= 1").fetchall()
    assert "entries_expiring" in plan[-1]
    await store.aclose()


async def test_value_is_gone_after_its_time(stores: tuple[Store, Store], tmp_path: Path) -> None:
    ours, _ = stores
    if isinstance(ours, FileStore):
        later = FileStore(tmp_path / "store.sqlite3", now=lambda: 10**10)
        await ours.put("a week", "old", ttl_seconds=604_800)
        await ours.put("for ever", "kept")
        assert await ours.get("a week") == "old"
        assert await later.get("a week") is None
        assert await later.get("for ever") == "kept"
        assert not await later.swap("a week", "old", "new")
        assert await later.swap("a week", None, "new")
        await later.aclose()
        return
    await ours.put("short", "old", ttl_seconds=1)
    async with asyncio.timeout(20):
        while await ours.get("short") is not None:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.05)
    assert await ours.swap("short", None, "new")
