"""Fallbacks, refusal policies and qualities, as a request names them."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx2
import pytest

from tests.api.conftest import image, job, submitted
from tests.api.problems import pointers, refusal


async def test_an_image_is_kept_with_every_way_to_it(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await submitted(
        client,
        defaults={"fallback": ["picky/picky-1", "placeholder"], "aspect_ratio": "1:1", "on_refusal": "next_provider"},
        images=[image("a"), image("b", fallback=[], on_refusal="alternate_prompt", alternate_prompt="Milder")],
    )

    first, second = await pool.fetch("SELECT * FROM images ORDER BY position")
    assert [(way["provider"], way["model"], way["timeout_seconds"]) for way in first["targets"]] == [
        ("placeholder", "placeholder-1", first["timeout_seconds"]),
        ("picky", "picky-1", 90.0),
        ("placeholder", "placeholder-1", first["timeout_seconds"]),
    ]
    assert [way["estimate_microusd"] for way in first["targets"]] == [0, 40_000, 0]
    assert all(way["options"] == {"aspect_ratio": "1:1"} for way in first["targets"])
    assert (first["target"], first["on_refusal"], first["alternate_prompt"]) == (0, "next_provider", None)
    assert (second["targets"], second["on_refusal"], second["alternate_prompt"]) == (None, "alternate_prompt", "Milder")


async def test_another_provider_leaves_the_weaker_words_fallbacks_behind(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    own = image("a", provider="picky", model="picky-1")
    await submitted(client, defaults={"fallback": ["picky/unpriced"]}, images=[own])

    assert await pool.fetchval("SELECT targets FROM images") is None


@pytest.mark.parametrize(
    ("defaults", "own", "slug", "pointer"),
    [
        ({"fallback": ["nobody"]}, {}, "unknown-model", "/defaults/fallback/0"),
        ({"fallback": ["placeholder", "picky"]}, {}, "unknown-model", "/defaults/fallback/1"),
        ({"fallback": ["picky/no-such"]}, {}, "unknown-model", "/defaults/fallback/0"),
        ({"fallback": ["picky/picky-0"]}, {}, "unknown-model", "/defaults/fallback/0"),
        ({}, {"fallback": ["nobody"]}, "unknown-model", "/images/0/fallback/0"),
        ({"fallback": ["picky/picky-1"], "seed": 7}, {}, "unsupported-option", "/defaults/seed"),
        ({"fallback": ["picky/picky-1"]}, {"size": "64x64"}, "unsupported-size", "/images/0/size"),
        ({"fallback": ["picky/picky-1"]}, {"prompt": "x" * 101}, "prompt-too-long", "/images/0/prompt"),
        ({"fallback": ["placeholder"] * 5}, {}, "validation-error", "/defaults/fallback"),
        ({"fallback": "placeholder"}, {}, "validation-error", "/defaults/fallback"),
        ({"on_refusal": "next_provider"}, {}, "validation-error", "/defaults/on_refusal"),
        ({"on_refusal": "alternate_prompt"}, {}, "validation-error", "/images/0"),
        ({"on_refusal": "shrug"}, {}, "validation-error", "/defaults/on_refusal"),
        ({"quality": "high"}, {}, "unsupported-option", "/defaults/quality"),
        ({}, {"alternate_prompt": ""}, "validation-error", "/images/0/alternate_prompt"),
        ({}, {"alternate_prompt": "a\x00b"}, "invalid-text", "/images/0/alternate_prompt"),
    ],
)
async def test_a_way_that_could_not_be_gone_is_refused_before_anything_is_made(
    defaults: dict[str, Any],
    own: dict[str, Any],
    slug: str,
    pointer: str,
    client: httpx2.AsyncClient,
    pool: asyncpg.Pool,
):
    response = await client.post("/v1/jobs", json=job(defaults=defaults, images=[image("a", **own)]))

    assert pointer in pointers(refusal(response, 422, slug))
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 0
