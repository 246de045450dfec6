from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.domain.recipe import parse_recipe
from tests.api.conftest import Serve, catalog, image, job, submitted
from tests.api.problems import refusal


async def stored(pool: asyncpg.Pool) -> list[asyncpg.Record]:
    return await pool.fetch("SELECT * FROM images ORDER BY job_id, position")


async def test_a_job_is_accepted_with_its_address_and_everything_it_will_do(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    response = await client.post("/v1/jobs", json=job(metadata={"case_id": "7"}))

    assert response.status_code == 202
    answer = response.json()
    assert response.headers["location"] == f"/v1/jobs/{answer['id']}" == answer["urls"]["self"]
    assert response.headers["retry-after"] == "2"
    assert "idempotency-replayed" not in response.headers
    assert answer == (await client.get(answer["urls"]["self"])).json()
    row = await pool.fetchrow("SELECT * FROM jobs")
    assert row is not None
    assert row["id"] == answer["id"]
    assert row["outputs"] == [
        {"name": "card", "width_px": 512, "height_px": 512, "fit": "cover", "format": "jpeg", "quality": 80}
    ]
    assert (row["deadline_seconds"], row["on_deadline"], row["storage_prefix"]) == (3600, "continue", None)
    assert (row["run_ends_at"] - row["created_at"]).total_seconds() == 86_400
    assert await pool.fetch("SELECT type, data FROM events") == [("job.created", {"total": 1})]


async def test_an_accepted_image_has_the_options_that_were_asked_for_and_the_models_own_timeout(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await submitted(
        client,
        defaults={"seed": 7, "aspect_ratio": "1:1", "max_attempts": 2},
        images=[
            image("plain"),
            image("own", seed=None, size="64x64", timeout_seconds=60, max_rebuys=0, on_uncertain="hold"),
        ],
    )

    plain, own = await stored(pool)
    assert plain["options"] == {"seed": 7, "aspect_ratio": "1:1"}
    assert (plain["timeout_seconds"], plain["max_attempts"], plain["max_rebuys"]) == (30.0, 2, 1)
    assert plain["on_uncertain"] == "retry_once"
    assert own["options"] == {"size": "64x64"}
    assert (own["timeout_seconds"], own["max_attempts"], own["max_rebuys"]) == (60.0, 2, 0)
    assert own["on_uncertain"] == "hold"


async def test_a_provider_of_its_own_leaves_the_default_model_behind(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await submitted(
        client,
        defaults={"provider": "picky", "model": "picky-1"},
        images=[image("default"), image("other", provider="placeholder"), image("same", model="unpriced")],
    )

    rows = await stored(pool)
    assert [(row["provider"], row["model"]) for row in rows] == [
        ("picky", "picky-1"),
        ("placeholder", "placeholder-1"),
        ("picky", "unpriced"),
    ]


async def test_without_an_obvious_provider_a_request_must_name_one(serve_with: Serve):
    async with serve_with(catalog=catalog(default=None)) as client:
        refused = refusal(await client.post("/v1/jobs", json=job()), 422, "no-provider")
        assert [each["pointer"] for each in refused["errors"]] == ["/defaults/provider"]
        assert all(f"`{name}`" in refused["detail"] for name in catalog().providers)

        await submitted(client, defaults={"provider": "placeholder"})


async def test_count_makes_images_of_their_own_in_the_order_given(client: httpx2.AsyncClient):
    answer = await submitted(
        client,
        images=[image("cover", count=3, group="extra"), image("single", count=1), image("last")],
    )

    assert [each["id"] for each in answer["images"]] == ["cover-1", "cover-2", "cover-3", "single", "last"]
    assert [each["group"] for each in answer["images"]] == ["extra"] * 3 + ["", ""]
    assert answer["counts"]["total"] == 5


async def test_the_estimate_is_the_sum_of_the_images_and_unknown_when_one_of_them_is(
    client: httpx2.AsyncClient,
):
    priced = image("a", count=3, provider="picky", model="picky-1")

    known = await submitted(client, images=[priced, image("free")])
    unknown = await submitted(client, images=[priced, image("b", provider="picky", model="unpriced")])

    assert known["cost"]["estimate_usd"] == "0.120"
    assert unknown["cost"]["estimate_usd"] is None


async def test_a_recipe_makes_its_groups_images_before_those_given_one_by_one(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    answer = await submitted(
        client,
        recipe="mystery-case",
        subjects={
            "evidence": [{"id": "ev-1", "name": "A brass key", "description": "Bent, oily"}],
            "locations": [{"id": "loc-1", "name": "The library", "description": "Green lamps"}],
        },
        images=[image("cover", group="extra")],
    )

    assert [(each["group"], each["id"]) for each in answer["images"]] == [
        ("locations", "loc-1"),
        ("evidence", "ev-1"),
        ("extra", "cover"),
    ]
    library, key, _ = await stored(pool)
    assert "The library" in library["prompt"]
    assert (library["options"], key["options"]) == ({"aspect_ratio": "16:9"}, {"aspect_ratio": "1:1"})


async def test_the_requests_defaults_count_more_than_the_recipes(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    subjects = {"locations": [{"id": "loc-1", "name": "The library", "description": "Green lamps"}]}

    await submitted(client, recipe="mystery-case", subjects=subjects, defaults={"size": "256x256"}, images=[])
    await submitted(client, recipe="mystery-case", subjects=subjects, defaults={"size": None}, images=[])

    assert [row["options"] for row in await stored(pool)] == [{"size": "256x256"}, {"aspect_ratio": "16:9"}]


async def test_a_recipe_with_wrong_options_is_named_as_the_fault(serve_with: Serve):
    text = """
        name = "odd"
        [[groups]]
        name = "things"
        prompt = "{{ name }}"
        [groups.defaults]
        colour = "red"
    """
    body = {"recipe": "odd", "subjects": {"things": [{"id": "a", "name": "x"}, {"id": "b", "name": "y"}]}}
    async with serve_with(recipes={"odd": parse_recipe(text, source="odd.toml")}) as client:
        refused = refusal(await client.post("/v1/jobs", json=body), 422, "validation-error")

    assert [each["pointer"] for each in refused["errors"]] == ["/recipe"]


async def test_more_subjects_than_a_job_has_images_are_refused(client: httpx2.AsyncClient):
    subjects = {"evidence": [{"id": f"e{n}", "name": "x", "description": "y"} for n in range(501)]}

    response = await client.post("/v1/jobs", json={"recipe": "mystery-case", "subjects": subjects})

    assert [each["pointer"] for each in refusal(response, 422, "validation-error")["errors"]] == ["/subjects"]


async def test_the_largest_job_is_accepted(client: httpx2.AsyncClient):
    answer = await submitted(client, images=[image(f"i{n}", count=10) for n in range(50)])

    assert answer["counts"]["total"] == 500


@pytest.mark.parametrize("size", [31_999, 32_000])
async def test_a_prompt_may_be_as_long_as_the_limit_in_code_points(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, size: int
):
    await submitted(client, images=[image(prompt="😀" * size)])

    assert len((await stored(pool))[0]["prompt"]) == size


async def test_text_of_any_kind_is_stored_as_it_was_sent(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    text = "'; DROP TABLE jobs; -- %s %(x)s {{7*7}} \u202eRTL é 😀\n\tend "

    answer = await submitted(client, images=[image(prompt=text)], metadata={"note": text})

    assert answer["metadata"] == {"note": text}
    assert (await stored(pool))[0]["prompt"] == text


async def test_what_else_a_job_may_say_is_kept(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    outputs = [
        {"name": "card", "width": 512, "height": 512},
        {"name": "thumb", "width": 96, "height": 64, "fit": "cover", "format": "jpeg", "quality": 60},
    ]
    await submitted(
        client,
        outputs=outputs,
        storage_prefix="project_1/branch_2/scene_3",
        deadline_seconds=90.5,
        on_deadline="fail",
    )

    row = await pool.fetchrow("SELECT * FROM jobs")
    assert row is not None
    assert [each["width_px"] for each in row["outputs"]] == [512, 96]
    assert (row["storage_prefix"], row["deadline_seconds"], row["on_deadline"]) == (
        "project_1/branch_2/scene_3",
        90.5,
        "fail",
    )
    assert (row["run_ends_at"] - row["created_at"]).total_seconds() == 90.5


async def test_links_are_those_of_the_public_address_where_it_is_known(serve_with: Serve):
    async with serve_with(public_url="https://pictures.example/safelight/") as client:
        response = await client.post("/v1/jobs", json=job())

    answer = response.json()
    assert answer["urls"]["cancel"] == f"https://pictures.example/safelight/v1/jobs/{answer['id']}/cancel"
    assert response.headers["location"] == answer["urls"]["self"]


async def post(client: httpx2.AsyncClient, key: str, **fields: Any) -> httpx2.Response:
    return await client.post("/v1/jobs", json=job(**fields), headers={"Idempotency-Key": key})


async def test_the_same_request_under_the_same_key_is_the_same_job(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    body = b'{"images": [{"id": "one", "prompt": "x"}], "deadline_seconds": 60}'
    reordered = b'{"deadline_seconds": 60, "images": [{"prompt": "x", "id": "one"}]}'
    headers = {"Idempotency-Key": "!k~", "Content-Type": "application/json"}

    first = await client.post("/v1/jobs", content=body, headers=headers)
    again = await client.post("/v1/jobs", content=reordered, headers=headers)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json()
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 1


async def test_another_request_under_the_same_key_is_refused(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    two = [image("a"), image("b")]
    await post(client, "key", images=two)

    refusal(await post(client, "key", images=two[::-1]), 422, "idempotency-key-reused")

    assert await pool.fetchval("SELECT count(*) FROM jobs") == 1


async def test_a_refused_request_does_not_use_up_its_key(client: httpx2.AsyncClient):
    refusal(await post(client, "key", images=[image(count=0)]), 422, "validation-error")

    response = await post(client, "key")

    assert response.status_code == 202
    assert "idempotency-replayed" not in response.headers


async def test_an_accepted_request_is_replayed_though_its_model_is_gone_by_now(
    client: httpx2.AsyncClient, serve_with: Serve
):
    first = await post(client, "key")
    async with serve_with(catalog=catalog(default=None)) as later:
        again = await post(later, "key")
        refusal(await post(later, "key", metadata={"a": "b"}), 422, "no-provider")

    assert again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]


async def test_twenty_racing_requests_under_one_key_make_one_job_and_are_all_told_its_id(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    answers = await asyncio.gather(*(post(client, "key") for _ in range(20)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 1
    assert await pool.fetchval("SELECT count(*) FROM images") == 1
    assert await pool.fetchval("SELECT count(*) FROM events") == 1


async def test_racing_requests_of_two_kinds_under_one_key_make_one_job_and_the_other_kind_is_refused(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    answers = await asyncio.gather(*(post(client, "key", metadata={"kind": str(n % 2)}) for n in range(20)))

    assert sorted(answer.status_code for answer in answers) == [202] * 10 + [422] * 10
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 1


async def test_a_key_whose_first_request_is_still_being_accepted_is_answered_with_a_conflict(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    async with pool.acquire() as conn:
        unfinished = conn.transaction()
        await unfinished.start()
        await conn.execute(
            "INSERT INTO jobs (id, idempotency_key, request_fingerprint, outputs, metadata, deadline_seconds,"
            " on_deadline, run_started_at, deadline_at, run_ends_at, created_at)"
            " VALUES ('job_x', 'key', 'f', '[]', '{}', 1, 'fail', now(), now(), now(), now())"
        )
        response = await post(client, "key")
        await unfinished.rollback()

    assert refusal(response, 409, "idempotency-in-progress")["retryable"]
    assert response.headers["retry-after"] == "2"
    assert (await post(client, "key")).status_code == 202
