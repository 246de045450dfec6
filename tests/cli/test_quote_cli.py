"""`safelight quote` and `safelight stats` as processes of their own, against the real API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from safelight.api.app import ApiDependencies
from safelight.client import SafelightClient, SyncSafelightClient
from safelight.domain.credits import Billing
from tests.api import conftest as api
from tests.cli.conftest import Safelight
from tests.client.test_blocking import beside
from tests.engine.books import open_account

queue, deps, renderer = api.queue, api.deps, api.renderer


@pytest.fixture
async def url(deps: ApiDependencies) -> AsyncIterator[str]:
    async with api.serving(deps) as client:
        yield str(client.base_url).rstrip("/")


async def test_a_job_file_is_quoted_and_nothing_is_ordered(
    safelight: Safelight, url: str, tmp_path: Path, pool: asyncpg.Pool
) -> None:
    order = api.job(images=[api.image("a", provider="picky", model="picky-1", count=2)])
    (tmp_path / "job.json").write_text(json.dumps(order))
    (tmp_path / "cards.csv").write_text("id,prompt,aspect_ratio\none,A key,1:1\ntwo,A lamp,17:1\n")

    said = await safelight("quote", "job.json", "--json", url=url)
    assert said.code == 0, said.err
    document = json.loads(said.out)
    assert (document["images"], document["affordable"], document["balance_after"]) == (2, True, None)
    wrong = await safelight("quote", "cards.csv", url=url)
    assert wrong.code == 1
    assert "cards.csv:3: `placeholder-1` does not make this aspect ratio" in wrong.err
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 0

    await open_account(pool, "default", billing=Billing.CREDITS, paid_in=1)
    poor = await safelight("quote", "job.json", url=url)
    assert poor.code == 1, "it would be refused"
    assert poor.out.splitlines() == [
        "2 images: $0.080 likely, $0.080 to $0.320",
        "2 credits held, -1 left",
        "it would be refused:",
        "- This costs 2 credits; the account has 1.",
        "- No worker serves `picky` at the moment: its images wait for one.",
        "- How long `picky/picky-1` takes is not known: it has made no picture in the last 24 hours.",
    ]


async def test_statistics_are_shown(
    safelight: Safelight, url: str, pool: asyncpg.Pool, environment: dict[str, str]
) -> None:
    async with SafelightClient(url) as client:
        for n in range(2):
            await client.submit(
                api.job(images=[api.image("a", group="cover"), api.image("b")]), idempotency_key=f"k{n}"
            )
        await pool.execute("UPDATE images SET status = 'completed', completed_at = created_at WHERE id = 'a'")
        told = await client.stats(group_by="group")

    said = await safelight("stats", "--group-by", "group", url=url)
    assert said.code == 0, said.err
    title, columns, none, cover, total, models = said.out.splitlines()
    assert title.startswith("default, jobs of 20")
    assert columns.split()[:5] == ["group", "jobs", "images", "completed", "failed"]
    assert cover.split() == ["cover", "2", "2", "2", "0", "0", "100.0%", "0.0", "s", "0.0", "s", "$0.000"]
    assert none.split() == ["2", "2", "0", "0", "0", "$0.000"]
    assert total.split()[:4] == ["all", "2", "4", "2"]
    assert models == "models: placeholder/placeholder-1 4"
    environment["COLUMNS"] = "80"
    narrow = await safelight("stats", "--group-by", "group", url=url)
    assert cover.split() in [line.split() for line in narrow.out.splitlines()], "nothing is cut off"
    in_full = json.loads((await safelight("stats", "--group-by", "group", "--json", url=url)).out)
    assert in_full["groups"] == told["groups"]


async def test_the_client_quotes_counts_and_lists_with_and_without_an_event_loop(url: str) -> None:
    order = api.job(images=[api.image("a", provider="picky", model="picky-1")], metadata={"case": "7"})
    async with SafelightClient(url) as client:
        told = await client.quote(order)
        job = (await client.submit(order)).job

    assert (told.images, told.low_usd, told.high_usd, told.affordable) == (1, "0.040", "0.160", True)
    assert (told.balance_after, told.p50_seconds, len(told.notes)) == (None, None, 2)

    def work() -> None:
        with SyncSafelightClient(url) as client:
            again = client.quote(order)
            assert (again.likely_usd, again.images) == (told.likely_usd, 1)
            assert client.stats()["total"]["jobs"]["total"] == 1
            found = client.images(status=["queued", "completed"], filters={"metadata.case": "7"})["images"]
            assert [(each["job_id"], each["id"]) for each in found] == [(job.id, "a")]
            assert client.jobs(status=["failed", "partial"])["jobs"] == []
            assert [each["id"] for each in client.jobs(filters={"model": "picky-1"})["jobs"]] == [job.id]

    await beside(work)
