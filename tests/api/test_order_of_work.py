"""When a job is to begin, how urgent it is, and which images are made from which, as a caller says it and sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.domain.ids import JobId
from safelight.settings import Settings
from tests.api.conftest import image, job, submitted
from tests.api.problems import pointers, refusal
from tests.engine.conftest import running
from tests.orders import ended


@pytest.fixture
def settings(tmp_path: Path, database: str) -> Settings:
    return Settings(home=tmp_path, database_url=database, admission_seconds=0.05, dequeue_seconds=0.1, slots=4)


def refs(*image_ids: str) -> list[dict[str, Any]]:
    return [{"image": each} for each in image_ids]


async def refused(
    client: httpx2.AsyncClient, *images: dict[str, Any], slug: str = "validation-error"
) -> dict[str, str]:
    """What is said of each place, of a request that is refused."""
    problem = refusal(await client.post("/v1/jobs", json=job(images=list(images))), 422, slug)
    return {each["pointer"]: each["detail"] for each in problem["errors"]}


async def test_a_job_shows_when_it_begins_and_how_urgent_it_is(client: httpx2.AsyncClient) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    accepted = await submitted(client, priority="high", not_before=at.isoformat(), deadline_seconds=60)
    assert accepted["priority"] == "high"
    assert datetime.fromisoformat(accepted["not_before"]) == at
    assert datetime.fromisoformat(accepted["deadline_at"]) == at + timedelta(seconds=60)
    plain = await submitted(client)
    assert (plain["priority"], plain["not_before"]) == ("normal", None)
    listed = (await client.get("/v1/jobs")).json()["jobs"]
    assert [each["priority"] for each in listed] == ["normal", "high"]


async def test_a_beginning_is_the_same_moment_in_every_zone_and_may_have_passed(client: httpx2.AsyncClient) -> None:
    accepted = await submitted(client, not_before="2026-01-01T05:30:00+05:30")
    assert datetime.fromisoformat(accepted["not_before"]) == datetime(2026, 1, 1, tzinfo=UTC)


async def test_an_image_shows_what_it_is_made_from_and_an_original_that_is_kept_for_that_is_shown_nowhere(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, settings: Settings
) -> None:
    child = image("b", size="64x64", references=[{"image": "a", "role": "style"}])
    accepted = await submitted(client, images=[image("a", size="64x64"), child])
    async with running(settings):
        assert await ended(pool, JobId(accepted["id"])) == "completed"
    first, second = (await client.get(accepted["urls"]["self"] + "?inline=card")).json()["images"]
    assert "references" not in first
    assert second["references"] == [{"image": "a", "role": "style"}]
    assert list(first["outputs"]) == ["card"]
    [name] = [row["name"] for row in await pool.fetch("SELECT name FROM renditions WHERE is_internal")]
    refusal(await client.get(f"/v1/jobs/{accepted['id']}/images/a/{name}"), 404, "not-found")


async def test_each_image_of_a_count_is_made_from_the_same_and_recipes_images_may_be_referenced(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    places = [{"id": "hall", "name": "Hall", "description": "Dark"}]
    case = {"recipe": "mystery-case", "subjects": {"locations": places}}
    images = [image("child", count=2, references=refs("cover-2", "hall")), image("cover", count=2)]
    accepted = await submitted(client, images=images, **case)
    shown = {each["id"]: [r["image"] for r in each.get("references", [])] for each in accepted["images"]}
    assert shown == {
        "hall": [],
        "child-1": ["cover-2", "hall"],
        "child-2": ["cover-2", "hall"],
        "cover-1": [],
        "cover-2": [],
    }
    assert await pool.fetchval("SELECT count(*) FROM images WHERE awaits_parents") == 2


async def test_a_circle_is_named_and_so_are_the_images_of_a_count(client: httpx2.AsyncClient) -> None:
    said = await refused(
        client,
        image("a", references=refs("b")),
        image("b", references=refs("c", "cover")),
        image("c", references=refs("a")),
        image("cover", count=3),
    )
    assert said["/images/2/references/0/image"] == "The references lead in a circle: `a` → `b` → `c` → `a`."
    several = "`cover` stands for several images; there are `cover-1` to `cover-3`."
    assert said["/images/1/references/1/image"] == several
    assert len(said) == 2


async def test_two_ways_to_one_image_are_no_circle_and_a_long_line_is_none_either(client: httpx2.AsyncClient) -> None:
    diamond = [image("d", references=refs("b", "c")), image("b", references=refs("a")), image("a")]
    await submitted(client, images=[*diamond, image("c", references=refs("a"))])
    line = [image(f"i{n}", references=refs(f"i{n + 1}")) for n in range(499)]
    await submitted(client, images=[*line, image("i499")])
    said = await refused(client, *line, image("i499", references=refs("i0")))
    [detail] = said.values()
    assert len(detail) < 200


async def test_an_image_that_cannot_be_read_is_not_taken_for_one_that_is_not_there(client: httpx2.AsyncClient) -> None:
    said = await refused(
        client,
        image("a", prompt=7, count=2),
        image("b", references=refs("a-2", "nobody")),
        image("c", references=[{"link": "https://example.com/x.png"}]),
        image("d", references=refs("c")),
        slug="unknown-field",
    )
    assert sorted(said) == [
        "/images/0/prompt",
        "/images/1/references/1/image",
        "/images/2/references/0/link",
    ]
    response = await client.post("/v1/jobs", json=job(recipe="nothing", images=[image("b", references=refs("hall"))]))
    assert pointers(refusal(response, 422, "validation-error")) == ["/recipe"], "it may be the recipe's"


async def test_every_provider_that_may_be_asked_has_to_take_all_references(client: httpx2.AsyncClient) -> None:
    parents = [image(f"p{n}") for n in range(15)]
    greedy = image("b", references=refs(*(f"p{n}" for n in range(15))))
    said = await refused(client, *parents, greedy, slug="unsupported-option")
    assert said == {"/images/15/references": "`placeholder-1` takes at most 14 references."}
    child = image("b", references=refs("a"), fallback=["picky/picky-1"])
    said = await refused(client, image("a"), child, slug="unsupported-option")
    assert said == {"/images/1/references": "`picky-1` takes no references."}
