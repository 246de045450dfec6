"""Styles: as a resource of an account, and around the prompts of its jobs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies
from safelight.api.schemas import NewStyle
from safelight.db.statements import load
from safelight.domain.order import request_fingerprint
from safelight.domain.recipe import parse_recipe
from safelight.domain.style import Style, built_in_styles
from safelight.engine.accounts.styles import MAX_STYLES
from safelight.engine.orders.catalog import Catalog, ConfiguredProvider
from safelight.providers.provider import Capabilities
from tests.api.conftest import PickyProvider, Serve, image, job, serving, submitted
from tests.api.problems import pointers, refusal
from tests.orders import until

STYLES = load("styles")
WAITS_FOR_A_LOCK = """
    SELECT true FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted
"""
INK = {"prefix": "An ink drawing.", "suffix": "Fine lines.", "negative_prompt": "colour"}
AROUND = "An ink drawing.\n{}\nFine lines.\nAvoid: colour"
KEY = "A brass key, bent and oily"


class ListeningProvider(PickyProvider):
    """Takes a negative prompt, and prompts of any length."""

    def capabilities(self, model: str) -> Capabilities:
        return replace(super().capabilities(model), negative_prompt=True, prompt_max_chars=100_000)


@pytest.fixture
def deps(deps: ApiDependencies) -> ApiDependencies:
    listening = ConfiguredProvider(provider=ListeningProvider(), kind="picky", model="picky-1", max_concurrency=2)
    providers = {**deps.catalog.providers, "listening": listening}
    return replace(deps, catalog=Catalog(providers=providers, default=deps.catalog.default))


async def put(client: httpx2.AsyncClient, name: str = "ink", **parts: Any) -> httpx2.Response:
    response = await client.put(f"/v1/styles/{name}", json=parts or INK)
    assert response.status_code in (200, 201), response.text
    return response


async def prompts(pool: asyncpg.Pool) -> list[str]:
    return [row["prompt"] for row in await pool.fetch("SELECT prompt FROM images ORDER BY job_id, position")]


async def test_a_style_is_made_looked_at_listed_and_removed(client: httpx2.AsyncClient):
    made = await put(client, "ink", description="Pen and ink", **INK)

    assert made.status_code == 201
    shown = await client.get("/v1/styles/ink")
    assert shown.json() == made.json()
    assert {
        **INK,
        "name": "ink",
        "description": "Pen and ink",
        "built_in": False,
        "version": 1,
    }.items() <= shown.json().items()
    listed = (await client.get("/v1/styles")).json()["styles"]
    assert [each["name"] for each in listed] == sorted(["ink", *built_in_styles()])
    assert shown.json() in listed

    assert (await client.delete("/v1/styles/ink")).status_code == 204
    refusal(await client.get("/v1/styles/ink"), 404, "not-found")
    refusal(await client.delete("/v1/styles/ink"), 404, "not-found")


async def test_putting_other_words_replaces_all_of_them_and_the_same_again_changes_nothing(client: httpx2.AsyncClient):
    first = await put(client)
    same = await put(client)
    other = await put(client, suffix="Coarse lines.")

    assert (same.status_code, same.json(), same.headers["etag"]) == (200, first.json(), first.headers["etag"])
    assert (other.status_code, other.json()["version"], other.json()["prefix"]) == (200, 2, None)
    assert other.headers["etag"] != first.headers["etag"]
    assert other.json()["created_at"] == first.json()["created_at"] <= other.json()["updated_at"]


async def test_a_style_is_only_changed_while_it_is_the_version_that_the_caller_knows(client: httpx2.AsyncClient):
    first = (await put(client)).headers["etag"]
    second = (await put(client, suffix="Coarse lines.")).headers["etag"]

    async def change(method: str, **headers: str) -> httpx2.Response:
        body = {"suffix": "No lines."} if method == "PUT" else None
        return await client.request(method, "/v1/styles/ink", headers=headers, json=body)

    for stale in ({"If-Match": first}, {"If-Match": f"W/{second}"}, {"If-Match": ""}, {"If-None-Match": "*"}):
        refusal(await change("PUT", **stale), 412, "precondition-failed")
        refusal(await change("DELETE", **stale), 412, "precondition-failed")
    refusal(await client.put("/v1/styles/other", json=INK, headers={"If-Match": "*"}), 412, "precondition-failed")

    third = await change("PUT", **{"If-Match": f'"no-such", {second}'})
    assert (third.status_code, third.json()["version"]) == (200, 3)
    assert (await change("DELETE", **{"If-Match": third.headers["etag"]})).status_code == 204
    assert (await client.put("/v1/styles/ink", json=INK, headers={"If-None-Match": "*"})).status_code == 201


async def test_who_makes_a_style_while_another_makes_it_waits_and_then_finds_it_made(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(STYLES.lock_styles, "default")
        late = asyncio.create_task(client.put("/v1/styles/ink", json=INK, headers={"If-None-Match": "*"}))
        waits = asyncio.create_task(until(pool, WAITS_FOR_A_LOCK))
        await asyncio.wait([late, waits], return_when=asyncio.FIRST_COMPLETED)
        assert not late.done(), "it did not wait for the one who came first"
        await conn.fetchrow(STYLES.insert_style, "default", "ink", None, "The first.", None, None)
        await transaction.commit()

    refusal(await late, 412, "precondition-failed")
    shown = (await client.get("/v1/styles/ink")).json()
    assert (shown["prefix"], shown["version"]) == ("The first.", 1)


async def test_a_caller_who_has_the_style_is_not_sent_it_again(client: httpx2.AsyncClient):
    for name in ("ink", "noir"):
        etag = (
            (await put(client)).headers["etag"]
            if name == "ink"
            else (await client.get("/v1/styles/noir")).headers["etag"]
        )
        again = await client.get(f"/v1/styles/{name}", headers={"If-None-Match": etag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


async def test_a_style_that_comes_with_safelight_cannot_be_deleted_but_one_of_the_same_name_goes_before_it(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    built_in = (await client.get("/v1/styles/noir")).json()
    assert (built_in["built_in"], built_in["version"], built_in["created_at"]) == (True, None, None)
    refusal(await client.delete("/v1/styles/noir"), 409, "built-in-style")

    assert (await put(client, "noir", prefix="My own.")).status_code == 201
    assert (await client.get("/v1/styles/noir")).json()["prefix"] == "My own."
    assert [
        each["built_in"] for each in (await client.get("/v1/styles")).json()["styles"] if each["name"] == "noir"
    ] == [False]
    await submitted(client, style="noir")
    assert await prompts(pool) == [f"My own.\n{KEY}"]

    assert (await client.delete("/v1/styles/noir")).status_code == 204
    assert (await client.get("/v1/styles/noir")).json() == built_in


async def test_another_accounts_style_is_nobody_elses(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await put(client)
    await pool.execute("UPDATE styles SET account = 'somebody-else'")

    refusal(await client.get("/v1/styles/ink"), 404, "not-found")
    refusal(await client.delete("/v1/styles/ink"), 404, "not-found")
    assert pointers(refusal(await client.post("/v1/jobs", json=job(style="ink")), 422, "validation-error")) == [
        "/style"
    ]
    assert (await put(client)).status_code == 201


async def test_an_account_has_so_many_styles_and_no_more(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await pool.execute(
        "INSERT INTO styles (account, name, prefix, created_at, updated_at)"
        " SELECT 'default', 's' || n, 'x', safelight.now(), safelight.now() FROM generate_series(1, $1) AS n",
        MAX_STYLES,
    )
    refusal(await client.put("/v1/styles/ink", json=INK), 409, "too-many-styles")
    assert (await put(client, "s1", prefix="y")).status_code == 200


async def test_a_job_is_bought_with_its_style_around_every_prompt(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await put(client)
    answer = await submitted(
        client, style="ink", images=[image("a", alternate_prompt="A spoon"), image("b", prompt="A cup ")]
    )

    first, second = await pool.fetch("SELECT * FROM images ORDER BY position")
    assert (first["prompt"], first["alternate_prompt"]) == (AROUND.format(KEY), AROUND.format("A spoon"))
    assert second["prompt"] == AROUND.format("A cup ")
    assert first["options"] == {}
    fingerprint = request_fingerprint("placeholder", "placeholder-1", first["prompt"], {})
    assert first["fingerprint"] == fingerprint
    assert [each["style"] for each in answer["images"]] == ["ink", "ink"]


async def test_an_image_has_the_style_that_it_names_or_none(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await put(client)
    await put(client, "wash", prefix="A wash drawing.")

    answer = await submitted(
        client, style="ink", images=[image("a", style="wash"), image("b", style=None), image("c", count=2)]
    )

    assert await prompts(pool) == [f"A wash drawing.\n{KEY}", KEY, AROUND.format(KEY), AROUND.format(KEY)]
    assert [each.get("style") for each in answer["images"]] == ["wash", None, "ink", "ink"]


async def test_a_recipes_group_has_a_style_that_the_request_may_change(serve_with: Serve, pool: asyncpg.Pool):
    text = """
        name = "cards"
        [[groups]]
        name = "fronts"
        prompt = "The front of {{ name }}"
        [groups.defaults]
        style = "ink"
        [[groups]]
        name = "backs"
        prompt = "The back of {{ name }}"
    """
    subjects = {"fronts": [{"id": "f", "name": "a card"}], "backs": [{"id": "b", "name": "a card"}]}
    body = {"recipe": "cards", "subjects": subjects}
    async with serve_with(recipes={"cards": parse_recipe(text, source="cards.toml")}) as client:
        assert pointers(refusal(await client.post("/v1/jobs", json=body), 422, "validation-error")) == ["/recipe"]
        await put(client)
        await put(client, "wash", prefix="A wash drawing.")
        for more in ({}, {"style": None}, {"style": "wash"}):
            assert (await client.post("/v1/jobs", json={**body, **more})).status_code == 202

    front, back = "The front of a card", "The back of a card"
    washed = [f"A wash drawing.\n{front}", f"A wash drawing.\n{back}"]
    assert await prompts(pool) == [*2 * [AROUND.format(front), back], *washed]


async def test_a_model_with_a_negative_prompt_is_told_there_what_to_keep_out(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await put(client)
    await submitted(
        client, style="ink", defaults={"provider": "listening"}, images=[image("a"), image("b", negative_prompt="blur")]
    )

    first, second = await pool.fetch("SELECT * FROM images ORDER BY position")
    assert first["prompt"] == second["prompt"] == f"An ink drawing.\n{KEY}\nFine lines."
    assert (first["options"], second["options"]) == ({"negative_prompt": "colour"}, {"negative_prompt": "blur, colour"})


async def test_what_to_keep_out_is_said_in_the_prompt_when_one_of_those_who_may_be_asked_takes_nothing_else(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await put(client)
    await submitted(client, style="ink", defaults={"provider": "listening", "fallback": ["placeholder"]})

    row = await pool.fetchrow("SELECT prompt, targets FROM images")
    assert row is not None
    assert row["prompt"] == AROUND.format(KEY)
    assert [way["options"] for way in row["targets"]] == [{}, {}]


async def test_a_job_keeps_the_style_that_it_was_accepted_with(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await put(client)
    key = {"Idempotency-Key": "mine"}
    first = await client.post("/v1/jobs", json=job(style="ink"), headers=key)

    await put(client, prefix="Something else.")
    changed = await client.post("/v1/jobs", json=job(style="ink"), headers=key)
    await client.delete("/v1/styles/ink")
    gone = await client.post("/v1/jobs", json=job(style="ink"), headers=key)

    assert await prompts(pool) == [AROUND.format(KEY)]
    for again in (changed, gone):
        assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
        assert again.json()["id"] == first.json()["id"]
    refusal(await client.post("/v1/jobs", json=job(style="ink")), 422, "validation-error")


async def test_a_retry_with_another_prompt_keeps_the_style_around_it_though_it_has_changed(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await put(client)
    answer = await submitted(client, style="ink", images=[image("a"), image("b", style=None), image("c")])
    await put(client, prefix="Something else.")

    for words in ("A spoon", "A longer fork"):
        await pool.execute("UPDATE images SET status = 'failed'")
        await pool.execute("UPDATE jobs SET status = 'failed'")
        overrides = {"prompt_overrides": {"a": words, "b": words}}
        assert (await client.post(answer["urls"]["retry"], json=overrides)).status_code == 202
        assert await prompts(pool) == [AROUND.format(words), words, AROUND.format(KEY)]

    row = await pool.fetchrow("SELECT prompt, fingerprint FROM images WHERE id = 'a'")
    assert row is not None
    assert row["fingerprint"] == request_fingerprint("placeholder", "placeholder-1", row["prompt"], {})


async def test_a_prompt_that_is_too_long_with_its_style_is_refused_where_it_stands(client: httpx2.AsyncClient):
    await put(client)
    picky = {"provider": "picky", "model": "picky-1"}
    fits = 100 - len(AROUND.format(""))

    async def faults(**fields: Any) -> list[str]:
        response = await client.post("/v1/jobs", json=job(style="ink", defaults=picky, **fields))
        problem = refusal(response, 422, "prompt-too-long")
        assert all("`ink`" in each["detail"] for each in problem["errors"])
        return pointers(problem)

    assert await faults(images=[image("a", prompt="x" * fits), image("b", prompt="x" * (fits + 1))]) == [
        "/images/1/prompt"
    ]
    long = image("a", prompt="x", alternate_prompt="x" * (fits + 1))
    assert await faults(images=[long]) == ["/images/0/alternate_prompt"]
    subject = {"id": "e", "name": "A key", "description": "Bent"}
    in_recipe = {"recipe": "mystery-case", "subjects": {"evidence": [subject]}, "images": []}
    assert await faults(**in_recipe) == ["/subjects/evidence/0"]


async def test_a_retrys_prompt_that_is_too_long_with_its_style_is_refused(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    await put(client)
    defaults = {"provider": "picky", "model": "picky-1"}
    answer = await submitted(client, style="ink", defaults=defaults, images=[image("a"), image("b", style=None)])
    await pool.execute("UPDATE images SET status = 'failed'")
    await pool.execute("UPDATE jobs SET status = 'failed'")

    overrides = {"a": "x" * (101 - len(AROUND.format(""))), "b": "x" * 100}
    refused = refusal(
        await client.post(answer["urls"]["retry"], json={"prompt_overrides": overrides}), 422, "prompt-too-long"
    )
    assert pointers(refused) == ["/prompt_overrides/a"]
    overrides["a"] = overrides["a"][1:]
    assert (await client.post(answer["urls"]["retry"], json={"prompt_overrides": overrides})).status_code == 202


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"images": [image("a", prompt="x" * 31_990)]}, "/images/0/prompt"),
        ({"images": [image("a", negative_prompt="x" * 31_999)]}, "/images/0/negative_prompt"),
    ],
)
async def test_no_style_makes_a_prompt_longer_than_any(
    client: httpx2.AsyncClient, fields: dict[str, Any], pointer: str
):
    await put(client)
    body = job(style="ink", defaults={"provider": "listening"}, **fields)
    assert pointers(refusal(await client.post("/v1/jobs", json=body), 422, "prompt-too-long")) == [pointer]


async def test_styles_that_do_not_exist_are_all_named_at_once_with_those_that_do(client: httpx2.AsyncClient):
    await put(client)
    images = [
        image("a"),
        image("b", style="rni"),
        image("c", style="ink", provider="nobody"),
        image("d", style="x", model="y"),
    ]

    problem = refusal(await client.post("/v1/jobs", json=job(style="nior", images=images)), 422, "validation-error")

    assert sorted(pointers(problem)) == [
        "/images/1/style",
        "/images/2/provider",
        "/images/3/model",
        "/images/3/style",
        "/style",
    ]
    [first] = [each for each in problem["errors"] if each["pointer"] == "/style"]
    assert all(f"`{name}`" in first["detail"] for name in ("ink", *built_in_styles()))
    every_image_has_its_own = job(style="nior", images=[image(style=None)])
    assert pointers(refusal(await client.post("/v1/jobs", json=every_image_has_its_own), 422, "validation-error")) == [
        "/style"
    ]


async def test_a_schedules_jobs_have_their_style(deps: ApiDependencies, pool: asyncpg.Pool):
    template = {"name": "daily", "cron": "@daily", "timezone": "UTC", "job": job(style="ink")}
    async with serving(deps) as client:
        refused = refusal(await client.post("/v1/schedules", json=template), 422, "validation-error")
        assert pointers(refused) == ["/job/style"]
        await put(client)
        made = await client.post("/v1/schedules", json=template)
        assert made.status_code == 201, made.text
        assert (await client.post(made.json()["urls"]["run"])).status_code == 202

    assert await prompts(pool) == [AROUND.format(KEY)]


async def test_submits_without_a_style_do_not_ask_for_any(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await pool.execute("ALTER TABLE styles RENAME TO styles_away")
    await submitted(client)


def test_what_a_caller_decides_about_a_style_is_what_it_may_send():
    given: dict[str, Any] = {part: part for part in NewStyle.model_fields}
    assert Style(name="x", **given).words == tuple(given)
